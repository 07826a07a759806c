"""Training and evaluation against plain loops, run folders, pictures, progress."""

import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import (
    data,
    device,
    get_num_threads,
    manual_seed,
    models,
    nn,
    no_grad,
    optim,
    set_num_threads,
    tensor,
)
from minicnn import functional as F
from minicnn.data import Dataset
from minicnn.training import (
    Batch,
    Epoch,
    Evaluation,
    History,
    RunFolder,
    evaluate,
    fit,
    load_trained,
    pictures,
    prepare,
    progress,
    recipe_for,
)
from minicnn.training.recipes import RECIPES, augmentation
from minicnn.training.run_folder import checkpoint_of, newest_run
from minicnn.training.trained import describe
from minicnn.weights import load, read_metadata, save

VARIANTS = ["modern", "paper", "d2l"]


@pytest.fixture(scope="module")
def digits():
    """40 training and 30 test images."""
    train, test = data.load("mnist5k")
    return train.subset(slice(40)), test.subset(slice(30))


@pytest.fixture(autouse=True)
def seeded():
    manual_seed(0)


def linear(classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))


def state(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


# Evaluation


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_is_what_looking_at_one_image_at_a_time_gives(digits, variant):
    _, test = digits
    model = models.lenet5(variant)
    found = evaluate(model, test, batch_size=7)  # 30 = 4 · 7 + 2: a mean of means would be wrong
    confusion, losses = np.zeros((10, 10), int), []
    size = model.input_shape[1]
    margin = (size - 28) // 2
    for image, label in zip(test.images, test.labels, strict=True):
        x = np.zeros((1, 1, size, size), np.float32)
        x[0, 0, margin : size - margin, margin : size - margin] = image[0] / 255
        with no_grad():
            output = model(tensor((x - model.mean[0]) / model.std[0], dtype="float32"))
        losses.append(model.loss(output, tensor([label])).item())
        confusion[label, model.scores(output).numpy().argmax()] += 1
    np.testing.assert_array_equal(found.confusion, confusion)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.accuracy == np.trace(confusion) / 30
    assert found.images == 30


def test_rows_are_the_true_classes():
    images = np.zeros((3, 1, 2, 2), np.float32)
    dataset = Dataset(images, np.array([0, 0, 1]), ("a", "b", "c"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    model[1].bias.data[:] = [0, 0, 9]  # it sees c everywhere
    np.testing.assert_array_equal(evaluate(model, dataset).confusion, [[0, 0, 2], [0, 0, 1], [0, 0, 0]])


def test_evaluation_is_in_evaluation_mode_and_leaves_every_mode_and_buffer(digits):
    _, test = digits
    norm = nn.BatchNorm2d(1)
    norm.eval()
    model = nn.Sequential(norm, nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.9), nn.Linear(784, 10))
    model.train()
    norm.training = False
    before = state(model)
    first = evaluate(model, test)
    assert evaluate(model, test).loss == first.loss  # no dropout
    assert same(before, state(model))
    assert [module.training for module in model] == [False, True, True, True, True]
    assert model.training


def test_evaluation_records_no_graph(digits):
    _, test = digits
    model = linear()
    outputs = []
    model.register_forward_hook(lambda module, args, output: outputs.append(output))
    evaluate(model, test)
    assert outputs
    assert not any(output.requires_grad for output in outputs)


def test_evaluation_needs_images_and_a_score_a_class(digits):
    _, test = digits
    with pytest.raises(ValueError, match=r"evaluate: the data set must have images, .* 0 images"):
        evaluate(linear(), test.subset([]))
    with pytest.raises(ValueError, match=r"evaluate: .* each of the 10 classes of 'mnist5k'.*\(30, 3\)"):
        evaluate(linear(3), test)


# Preparation


@pytest.mark.parametrize("variant", VARIANTS)
def test_prepared_images_fit_the_model(digits, variant):
    train, _ = digits
    model = models.lenet5(variant)
    x = prepare(model, train)(train.images)
    assert x.shape[1:] == model.input_shape
    assert x[0, 0, 0, 0] == pytest.approx(-model.mean[0] / model.std[0])  # the frame is background


@pytest.mark.parametrize("shape", [(1, 33, 33), (1, 29, 29), (1, 28, 30), (3, 28, 28), (1, 34, 34)])
def test_images_that_cannot_fit_are_an_error(shape):
    dataset = Dataset(np.zeros((1, *shape), np.uint8), np.array([0]), ("a",), "odd")
    with pytest.raises(ValueError, match=r"LeNet5Modern: .* 1×32×32, .*'odd' are {}×{}×{}".format(*shape)):
        prepare(models.lenet5(), dataset)


def test_a_module_that_states_nothing_gets_plain_pixels(digits):
    train, _ = digits
    x = prepare(linear(), train)(train.images)
    np.testing.assert_array_equal(x, train.images.astype("f4") / np.float32(255))


# Training


def test_training_figures_are_those_of_the_images(digits):
    """With a learning rate of 0 training sees what evaluation sees, whatever the order and the batches."""
    train, test = digits
    model = models.lenet5()
    before = state(model)
    history = fit(model, train, test, epochs=1, batch_size=7, optimizer=optim.SGD(model.parameters(), lr=0.0))
    assert same(before, state(model))
    (epoch,) = history.epochs
    expected = evaluate(model, train)
    assert epoch.train_loss == pytest.approx(expected.loss, rel=1e-5)
    assert epoch.train_accuracy == expected.accuracy
    assert (epoch.test_loss, epoch.test_accuracy) == (history.evaluation.loss, history.evaluation.accuracy)
    np.testing.assert_array_equal(history.evaluation.confusion, evaluate(model, test).confusion)
    assert epoch.images_per_second == pytest.approx(40 / epoch.seconds)
    assert history.seconds == epoch.seconds


def test_training_is_the_plain_loop(digits):
    train, _ = digits
    model, other = linear(), linear()
    other.load_state_dict(model.state_dict())
    rng = np.random.default_rng(5)
    fit(
        model,
        train,
        epochs=2,
        batch_size=16,
        optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        generator=np.random.default_rng(5),
    )
    optimizer = optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        order = rng.permutation(40)
        for start in range(0, 40, 16):
            chosen = order[start : start + 16]
            optimizer.zero_grad()
            x = tensor(train.images[chosen] / np.float32(255))
            F.cross_entropy(other(x), tensor(train.labels[chosen])).backward()
            optimizer.step()
    assert same(state(model), state(other))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_by_its_recipe(digits, variant):
    train, _ = digits
    model = models.lenet5(variant)
    optimizer, _ = recipe_for(model, train).new_optimizer(model)
    history = fit(model, train, epochs=100, batch_size=10, optimizer=optimizer)  # sigmoids are slow to begin
    assert history.epochs[-1].train_loss < 0.6 * history.epochs[0].train_loss
    assert history.evaluation is None
    assert history.epochs[-1].test_loss is None


def weights_after(train, seed, threads):
    set_num_threads(threads)
    manual_seed(seed)
    model = models.lenet5()
    distort = augmentation(train)
    fit(model, train, epochs=2, batch_size=16, augment=distort)
    return state(model)


def test_a_seed_means_the_same_bits_for_any_number_of_threads(digits):
    train, _ = digits
    before = get_num_threads()
    try:
        first = weights_after(train, seed=3, threads=1)
        assert same(first, weights_after(train, seed=3, threads=1))
        assert same(first, weights_after(train, seed=3, threads=2))
        assert same(first, weights_after(train, seed=3, threads=3))
        assert not same(first, weights_after(train, seed=4, threads=1))
    finally:
        set_num_threads(before)


def test_callbacks_hear_of_every_step_and_epoch(digits):
    train, test = digits
    heard = []
    history = fit(
        linear(), train, test, epochs=2, batch_size=16, on_batch=heard.append, on_epoch=heard.append
    )
    batches = [(event.epoch, event.images) for event in heard if isinstance(event, Batch)]
    assert batches == [(1, 16), (1, 32), (1, 40), (2, 16), (2, 32), (2, 40)]
    assert [type(event) for event in heard] == [Batch, Batch, Batch, Epoch] * 2
    assert [event for event in heard if isinstance(event, Epoch)] == history.epochs
    assert {(event.epochs, event.of) for event in heard if isinstance(event, Batch)} == {(2, 40)}
    assert heard[2].loss == history.epochs[0].train_loss


def test_the_schedule_takes_a_step_an_epoch(digits):
    train, _ = digits
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    history = fit(model, train, epochs=3, optimizer=optimizer, scheduler=schedule)
    assert [epoch.lr for epoch in history.epochs] == [0.1, 0.05, 0.025]


@pytest.mark.parametrize("with_test", [True, False])
def test_the_plateau_schedule_is_told_the_test_loss(digits, with_test):
    train, test = digits
    model = linear()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    told = []
    schedule.step = told.append
    history = fit(
        model, train, test if with_test else None, epochs=2, optimizer=optimizer, scheduler=schedule
    )
    assert told == [epoch.test_loss if with_test else epoch.train_loss for epoch in history.epochs]


def test_augmentation_is_for_training_images_only_and_comes_first(digits):
    train, test = digits
    seen = []

    def blank(images):
        seen.append(images.dtype)
        return np.zeros_like(images)

    model = models.lenet5()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    history = fit(model, train, test, epochs=1, optimizer=optimizer, augment=blank)
    assert seen == [np.uint8]
    nothing = evaluate(model, Dataset(np.zeros_like(train.images), train.labels, train.classes))
    assert history.epochs[0].train_loss == pytest.approx(nothing.loss, rel=1e-5)
    assert history.epochs[0].test_loss == evaluate(model, test).loss


def test_a_transform_replaces_the_preparation_for_both(digits):
    train, test = digits

    def halves(images):
        return images[:, :, ::2, ::2].astype("f4")

    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 10))
    assert fit(model, train, test, epochs=1, transform=halves).evaluation.images == 30


def test_training_is_in_training_mode_even_after_evaluation(digits):
    train, test = digits
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10)).eval()
    modes = []
    fit(model, train, test, epochs=2, batch_size=40, on_batch=lambda batch: modes.append(model[1].training))
    assert modes == [True, True]


def test_divergence_is_an_error_and_no_warning(digits):
    train, _ = digits
    model = models.lenet5()
    optimizer = optim.SGD(model.parameters(), lr=1e12)
    with pytest.raises(FloatingPointError, match=r"fit: the loss .* (nan|inf) in epoch \d after \d+ images"):
        fit(model, train, epochs=9, batch_size=8, optimizer=optimizer)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, None])
def test_epochs_must_be_a_number_of_them(digits, epochs):
    with pytest.raises(ValueError, match="fit: epochs must be an int of at least 1, got"):
        fit(linear(), digits[0], epochs=epochs)


def test_training_needs_images(digits):
    with pytest.raises(ValueError, match=r"fit: the training data must have images"):
        fit(linear(), digits[0].subset([]), epochs=1)


# Recipes


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("lenet5", {"variant": "d2l"}, ("Adam", 0.003, 50)),
        ("lenet5", {"variant": "paper"}, ("Adam", 0.005, 50)),
        ("alexnet", {"variant": "paper"}, ("SGD", 0.01, 128)),
        ("vgg16_bn", {}, ("SGD", 0.01, 256)),
        ("inception_v2", {}, ("SGD", 0.0075, 32)),
        ("inception_v3", {}, ("RMSprop", 0.045, 32)),
        ("inception_resnet_v2", {}, ("RMSprop", 0.045, 32)),
        ("resnet_cifar", {"depth": 20}, ("SGD", 0.1, 128)),
        ("preact_resnet18", {}, ("SGD", 0.1, 256)),
    ],
)
def test_every_network_has_its_papers_recipe(digits, name, config, expected):
    with device("meta"):
        recipe = recipe_for(models.get_model(name, **config), digits[0])
    assert (recipe.optimizer, recipe.lr, recipe.batch_size) == expected
    recipe.new_optimizer(linear())


def test_large_sets_take_fewer_epochs_where_the_recipe_is_for_few_images():
    many = Dataset(np.zeros((60_000, 1, 1, 1), np.uint8), np.zeros(60_000, np.int64), ("a",))
    assert recipe_for(models.lenet5(), many).epochs == 8
    assert recipe_for(linear(), many).epochs == 8
    with device("meta"):
        assert recipe_for(models.resnet_cifar(20), many).epochs == 164


def rates_of(recipe):
    optimizer, schedule = recipe.new_optimizer(linear())
    rates = []
    for _ in range(recipe.epochs + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if recipe.schedule[0] == "plateau":
            schedule.step(1.0)
        else:
            schedule.step()
    return rates


@pytest.mark.parametrize("name", RECIPES)
def test_the_rate_begins_as_told_and_only_falls(name):
    rates = rates_of(RECIPES[name])
    assert rates[0] == RECIPES[name].lr
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]


def test_the_schedules_are_the_papers():
    assert rates_of(RECIPES["lenet5:*"])[-1] == pytest.approx(0, abs=1e-12)
    cifar = rates_of(RECIPES["resnet_cifar:*"])  # 64k steps of 128 images; a tenth after 32k and 48k
    assert [cifar[81], cifar[82], cifar[122], cifar[123]] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    googlenet, v2 = rates_of(RECIPES["googlenet:*"]), rates_of(RECIPES["inception_v2:*"])
    assert (v2[7], v2[8] / v2[0]) == pytest.approx((0.0075, googlenet[48] / googlenet[0]))  # six times faster
    v3 = rates_of(RECIPES["inception_v3:*"])
    assert v3[:4] == pytest.approx([0.045, 0.045, 0.045 * 0.94, 0.045 * 0.94])


def test_a_recipe_says_what_it_is():
    assert str(RECIPES["inception_v3:*"]) == (
        "epochs 100, batch size 32, RMSprop, alpha 0.9, eps 1, learning rate 0.045 times 0.94 after each 2 epochs"
    )
    assert str(RECIPES["resnet_cifar:*"]).endswith(
        "learning rate 0.1 times 0.1 after 0.5 and 0.75 of the training"
    )
    assert str(RECIPES["lenet5:*"]).endswith("Adam, learning rate 0.005 falling to 0")


def test_gradients_are_clipped_where_the_recipe_says_so(digits):
    model = models.lenet5()
    before = state(model)
    fit(
        model,
        digits[0].subset(slice(20)),
        epochs=1,
        batch_size=20,
        optimizer=optim.SGD(model.parameters(), lr=1.0),
        max_norm=1e-3,
    )
    moved = math.hypot(*(np.linalg.norm(model.state_dict()[name] - array) for name, array in before.items()))
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_handwriting_is_distorted_and_photographs_are_shifted_and_mirrored(digits):
    train, _ = digits
    clothes = Dataset(train.images, train.labels, tuple("ABCDEFGHIJ"))
    assert augmentation(clothes) is None
    assert not np.array_equal(augmentation(train)(train.images), train.images)
    photographs = np.random.default_rng(0).integers(1, 256, (40, 3, 32, 32)).astype(np.uint8)
    seen = augmentation(Dataset(photographs, train.labels, tuple("ABCDEFGHIJ")))(photographs)
    assert seen.shape == photographs.shape
    assert 0 < (seen == 0).mean() < (40**2 - 32**2) / 32**2  # some of the frame, never all


def test_large_images_are_judged_a_few_at_a_time(digits):
    class Wide(nn.Module):
        def forward(self, x):
            batches.append(len(x))
            return x.reshape(len(x), 10, -1).sum(2)

    batches: list[int] = []
    images = np.zeros((8, 5, 512, 256), np.uint8)
    evaluate(Wide(), Dataset(images, np.zeros(8, np.int64), tuple("ABCDEFGHIJ")))
    assert batches == [1] * 8
    evaluate(Wide(), digits[1], transform=lambda x: np.zeros((len(x), 10, 1, 1), np.float32))
    assert batches[8:] == [30]


# The run folder


def epoch(number, accuracy=0.5):
    return Epoch(number, 0.1, 1.0 / number, 0.5, 0.9, accuracy, 2.0, 20.0)


def test_a_run_folder_has_the_last_and_the_best_weights_and_a_line_an_epoch(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    for number, accuracy in enumerate([0.5, 0.8, 0.8, 0.7], 1):
        folder.record(epoch(number, accuracy), {"w": np.array([float(number)])}, {"epoch": number})
        # At once, not at the end: a run may be stopped at any time.
        assert read_metadata(folder.checkpoint) == {"epoch": number}
        lines = (folder.path / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == number
    assert load(folder.checkpoint)["w"] == [4]
    assert load(folder.path / "best.safetensors")["w"] == [2]
    assert [json.loads(line)["test_accuracy"] for line in lines] == [0.5, 0.8, 0.8, 0.7]
    assert json.loads(lines[0]).keys() == set(Epoch.__dataclass_fields__)


def test_without_test_data_there_is_no_best(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.record(Epoch(1, 0.1, 1.0, 0.5, None, None, 2.0, 20.0), {}, {})
    assert not (folder.path / "best.safetensors").exists()


def test_no_run_folder_is_taken_twice(tmp_path):
    (tmp_path / "a" / "run").mkdir(parents=True)
    (tmp_path / "a" / "run-002").write_text("a file")
    names = [RunFolder.create(tmp_path / "a" / "run").path.name for _ in range(3)]
    assert names == ["run-001", "run-003", "run-004"]


def test_a_run_folder_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        RunFolder.create(tmp_path / "file" / "run")


def test_settings_are_json(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_settings({"seed": 3})
    assert json.loads((folder.path / "settings.json").read_text()) == {"seed": 3}


def test_the_newest_run_is_the_one_with_the_latest_checkpoint(tmp_path):
    import os

    for number, name in enumerate(["b", "c", "a"]):
        folder = RunFolder.create(tmp_path / name)
        save(folder.checkpoint, {})
        os.utime(folder.checkpoint, ns=(0, number * 10**9))
    RunFolder.create(tmp_path / "z")  # without a checkpoint
    assert newest_run(tmp_path).name == "a"
    with pytest.raises(ValueError, match=r"no run in .*none.*minicnn train lenet5"):
        newest_run(tmp_path / "none")


def test_a_checkpoint_is_named_by_its_path_or_its_run(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    with pytest.raises(ValueError, match=r"run.* is no run folder: it holds no checkpoint\.safetensors"):
        checkpoint_of(folder.path)
    save(folder.checkpoint, {})
    assert checkpoint_of(folder.path) == checkpoint_of(folder.checkpoint) == folder.checkpoint


# A trained model and its file


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_comes_back_from_its_file_alone(digits, tmp_path, variant):
    _, test = digits
    model = models.lenet5(variant)
    save(tmp_path / "net", model.state_dict(), describe(model, test, "mnist5k"))
    manual_seed(99)
    trained = load_trained(tmp_path / "net")
    assert trained.model.config == model.config == {"model": "lenet5", "variant": variant, "num_classes": 10}
    assert trained.data == "mnist5k"
    assert trained.classes == test.classes
    assert not trained.model.training
    assert evaluate(trained.model, test).loss == evaluate(model, test).loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"model": "lenet5", "variant": "paper"}}, "does not fit LeNet5Paper; missing: "),
        ({"config": {"model": "lenet5", "num_classes": 2}}, "names 10 classes of a network for 2"),
        ({"config": {"model": "lenet5", "depth": 2}}, "cannot be built: .*depth"),
        ({"config": {"model": "vgg61"}}, "no model 'vgg61'"),
        ({"config": "lenet5"}, "something else than texts"),
        ({"config": {"model": "resnet_cifar", "depth": 6 * 10**7 + 2}}, "depth is 60000002, they allow 10"),
        ({"config": {"model": "resnet_cifar", "depth": 10**4000 + 2}}, "numbers and short texts"),
        ({"config": {"model": "lenet5", "num_classes": 10**13}}, "num_classes is 10000000000000, they allow"),
        ({"config": {"model": ["lenet5"]}}, "numbers and short texts"),
        ({"config": {"model": "l" * 61}}, "numbers and short texts"),
        ({"classes": ["\x1b[2J", *"123456789"]}, "something else than texts"),
        ({"classes": ["a", "b"]}, "names 2 classes of a network for 10"),
        ({"classes": [1, 2]}, "something else than texts"),
        ({"mean": [0.5]}, "trained on another input"),
        ({"input_shape": [1, 28, 28]}, "trained on another input"),
    ],
)
def test_a_checkpoint_of_another_model_is_an_error(digits, tmp_path, change, message):
    model = models.lenet5()
    about = describe(model, digits[0], "mnist5k") | change
    if about["config"] == {"model": "lenet5", "variant": "paper"}:
        about |= {"mean": list(models.lenet5("paper").mean), "std": list(models.lenet5("paper").std)}
    save(tmp_path / "net", model.state_dict(), about)
    with pytest.raises(ValueError, match=message) as caught:
        load_trained(tmp_path / "net")
    assert "\n" not in str(caught.value)


def test_weights_without_a_description_are_an_error(tmp_path):
    save(tmp_path / "net", models.lenet5().state_dict())
    with pytest.raises(ValueError, match="does not say which model its weights are of"):
        load_trained(tmp_path / "net")


# Pictures


def history(epochs=3, classes=10):
    confusion = np.diag(np.full(classes, 98))
    confusion[1, 0] = 2
    return History([epoch(number) for number in range(1, epochs + 1)], Evaluation(0.1, confusion))


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_learning_curve_has_its_points_names_and_units(epochs):
    loss, accuracy = pictures.learning_curve(history(epochs)).axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss (mean over images)")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    train, test = loss.lines
    assert list(train.get_ydata()) == pytest.approx([1 / n for n in range(1, epochs + 1)])
    assert list(test.get_ydata()) == [0.9] * epochs
    assert list(test.get_xdata()) == list(range(1, epochs + 1))
    assert list(accuracy.lines[0].get_ydata()) == [50] * epochs
    for axes in (loss, accuracy):
        assert len(axes.get_legend().get_texts()) == 2
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
        low, high = axes.get_ylim()
        assert all(low <= y <= high for line in axes.lines for y in line.get_ydata())


def test_the_confusion_matrix_has_its_numbers_in_place():
    classes = [f"class {i}" for i in range(10)]
    (axes,) = pictures.confusion_matrix(history().evaluation, classes).axes
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(i, i): "98" for i in range(10)} | {(0, 1): "2"}  # x is the prediction
    assert [label.get_text() for label in axes.get_xticklabels()] == classes
    assert [label.get_text() for label in axes.get_yticklabels()] == classes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_a_large_confusion_matrix_stays_a_picture():
    figure = pictures.confusion_matrix(history(classes=100).evaluation, [str(i) for i in range(100)])
    assert max(figure.get_size_inches()) < 20
    assert not figure.axes[0].texts


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (9, 3, 3, 3), (4, 2, 3, 3), (1, 1, 1, 1)])
def test_the_filters_are_all_there(shape):
    weight = np.random.default_rng(0).normal(size=shape)
    shown = [axes for axes in pictures.filters(weight).axes if axes.images]
    assert len(shown) == shape[0]
    assert [axes.get_title() for axes in shown] == [str(i) for i in range(shape[0])]
    if shape[1] == 1:
        np.testing.assert_array_equal(shown[0].images[0].get_array(), weight[0, 0])


def test_dead_filters_can_be_drawn():
    pictures.filters(np.zeros((2, 1, 3, 3))).savefig(io.BytesIO())


def test_pictures_are_written_without_pyplot(tmp_path):
    code = (
        "import sys, pathlib, numpy as np; sys.path.insert(0, 'tests')\n"
        "from test_training import history\n"
        "from minicnn import models\n"
        "from minicnn.training import pictures\n"
        "names = pictures.write_pictures(pathlib.Path(sys.argv[1]), history(), models.lenet5(), '0123456789')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "print(*(path.name for path in names))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["learning-curve.png", "filters.png", "confusion-matrix.png"]
    assert {path.name for path in tmp_path.iterdir()} == set(done.stdout.split())
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_net_without_convolutions_has_no_filters(tmp_path):
    names = {path.name for path in pictures.write_pictures(tmp_path, history(), linear(), "0123456789")}
    assert names == {"learning-curve.png", "confusion-matrix.png"}


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(shown):
    with shown:
        shown.on_batch(Batch(1, 2, 20, 40, 1.2345, 0.4321))
        shown.on_epoch(epoch(1))


def test_a_terminal_gets_a_bar_with_figures(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    show(progress.progress(2))
    text = sys.stdout.getvalue()
    for part in ("epoch 1/2", "25 %", "loss 1.2345", "accuracy 43.2%", "images/s", "left"):
        assert part in text
    assert "test: loss 0.9000, accuracy 50.00%" in text


def test_a_file_gets_a_plain_line_an_epoch(capsys):
    show(progress.progress(2))
    assert capsys.readouterr().out == (
        "epoch 1/2   train: loss 1.0000, accuracy 50.00%   test: loss 0.9000, accuracy 50.00%   20 images/s\n"
    )


def test_quiet_is_silent(capsys):
    show(progress.progress(2, quiet=True))
    assert capsys.readouterr().out == ""


@settings(max_examples=20)
@given(st.integers(1, 12), st.none() | st.floats(0, 1))
def test_a_line_says_what_is_known(epochs, accuracy):
    out = io.StringIO()
    lines = progress.Lines(epochs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        loss = None if accuracy is None else 0.5
        lines.on_epoch(Epoch(1, 0.1, 1.0, 0.5, loss, accuracy, 1.0, 1.0))
    assert ("test" in out.getvalue()) == (accuracy is not None)
    assert out.getvalue().count("\n") == 1


def test_the_public_names():
    assert minicnn.training.fit is fit
