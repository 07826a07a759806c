import numpy as np, pytest, minicnn, time
from minicnn import Tensor, tensor, models
from minicnn.testing import slim
from minicnn import functional as F
@pytest.mark.parametrize("half",["float16","bfloat16"])
@pytest.mark.parametrize("name",["resnet18","googlenet","vgg11_bn","alexnet","inception_v3","lenet5"])
def test_it(cuda,name,half):
    t=time.time()
    try:
        with minicnn.device("meta"): model=models.get_model(name,num_classes=4)
        model=slim(model,64,device="cuda")
    except Exception as e:
        print(name, "slim", e); return
    x=Tensor(np.random.default_rng(0).normal(size=(2,*model.input_shape[1:],model.input_shape[0])).astype(np.float32).transpose(0,3,1,2)).to("cuda")
    lab=tensor([0,1],device="cuda")
    try:
        with minicnn.autocast(half):
            loss=model.loss(model.train()(x),lab)
        loss.backward()
    except Exception as e:
        import traceback; traceback.print_exc(); print("FAIL",name,half,type(e),str(e)[:300]); return
    print(name,half,loss.dtype,loss.item(),{str(p.grad.dtype) for p in model.parameters() if p.grad is not None}, f"{time.time()-t:.1f}s")
    x16,(y32,)=tensor(np.ones((2,3)),dtype=half,device="cuda"),[tensor(np.ones((2,3)),dtype="float32",device="cuda")]
    print(F.cat([x16,y32]).dtype)
