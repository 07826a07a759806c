"""The command line: what it prints and leaves, every mistake in one line, Ctrl-C, a closed pipe."""

import gzip
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn import data, models
from minicnn.cli import main
from minicnn.config import _notes, get_config
from minicnn.ops.relu import ReLU
from minicnn.training.pictures import write_pictures
from minicnn.weights import load, read_metadata, save

COMMANDS = ["train", "eval", "predict", "summary", "ledger", "gradcheck", "bench", "convert", "config"]
FILES = {"settings.json", "metrics.jsonl", "checkpoint.safetensors", "best.safetensors"}
PICTURES = {"learning-curve.png", "filters.png", "confusion-matrix.png"}

WRITE_PICTURES = write_pictures


def write_idx(path, array):
    head = bytes([0, 0, 0x08, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder like MNIST's with 200 training and 50 test digits, named as Fashion-MNIST's would be."""
    folder = tmp_path_factory.mktemp("data") / "fashion-mnist"
    folder.mkdir()
    for part, name, count in zip(data.load("mnist5k"), ("train", "t10k"), (200, 50), strict=True):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", part.images[:count, 0])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", part.labels[:count].astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    """The run folder of two epochs on the few digits."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert (
        main(["train", "lenet5", "--data", str(few), "--epochs", "2", "--out", str(folder), "--quiet"]) == 0
    )
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, and draw no pictures, which takes longer than training here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minicnn.training.pictures.write_pictures", lambda *arguments: [])
    monkeypatch.setenv("COLUMNS", "100")
    before = minicnn.get_num_threads()
    yield
    minicnn.set_num_threads(before)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def metrics(folder):
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def start(*arguments, **options):
    """Start ``python -m minicnn`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "minicnn", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# Help


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_says_what_for_and_gives_an_example(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        run(*arguments, "--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "For example:" in text
    assert re.search(rf"^ *(For example: )?minicnn {''.join(arguments)}", text, re.M)


def test_help_lists_the_commands_there_are_and_no_others(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    listed = re.findall(r"^    ([a-z]+)\b", capsys.readouterr().out, re.M)
    assert listed == COMMANDS


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        run("--version")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"minicnn {minicnn.__version__}\n"


# Training


def test_train_prints_the_outcome_and_leaves_a_run(few, monkeypatch, capsys):
    monkeypatch.setattr("minicnn.training.pictures.write_pictures", WRITE_PICTURES)
    assert run("train", "lenet5", "--data", few, "--epochs", 2, "--batch-size", 20) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "training lenet5 (modern) on 200 images" in out
    assert "epochs 2, batch size 20" in out
    assert len(re.findall(r"^epoch \d/2 ", out, re.M)) == 2
    accuracy, right = re.search(r"test accuracy (\d+\.\d\d)% \((\d+) of 50\)", out).groups()
    assert float(accuracy) == 2 * int(right)
    rows = re.findall(r"^│ (\d)    │(.*)│$", out, re.M)
    matrix = [[int(cell.replace("·", "0")) for cell in row.split("│")] for _, row in rows]
    assert np.trace(matrix) == int(right)
    assert np.sum(matrix) == 50
    assert np.sum(matrix, axis=1).tolist() == [5] * 10  # rows are the true classes

    assert {path.name for path in Path("runs/lenet5").iterdir()} == FILES | PICTURES
    lines = metrics("runs/lenet5")
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[-1]["test_accuracy"] == int(right) / 50
    settings = json.loads(Path("runs/lenet5/settings.json").read_text())
    assert settings["batch_size"] == 20
    assert settings["seed"] == 0
    assert read_metadata("runs/lenet5/checkpoint.safetensors")["epoch"] == 2


def test_quiet_prints_the_outcome_only(few, capsys):
    assert run("train", "lenet5", "--data", few, "--epochs", 1, "--quiet") == 0
    out = capsys.readouterr().out
    assert "epoch" not in out
    assert out.startswith("trained in ")
    assert "test accuracy" in out


def test_a_run_folder_is_not_overwritten(few, capsys):
    for _ in range(2):
        run("train", "lenet5", "--data", few, "--epochs", 1, "--quiet", "--out", "mine")
    assert sorted(os.listdir()) == ["mine", "mine-001"]
    assert "written to mine-001" in capsys.readouterr().out


def test_the_options_reach_the_training(few):
    run(
        "train",
        "lenet5",
        "--data",
        few,
        "--epochs",
        3,
        "--lr",
        "0.25",
        "--seed",
        5,
        "--threads",
        1,
        "--quiet",
    )
    lines = metrics("runs/lenet5")
    assert [line["lr"] for line in lines] == pytest.approx([0.25, 0.1875, 0.0625])
    assert minicnn.get_num_threads() == 1


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(few):
    for out, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 1, 2), ("d", 2, 2)):
        options = ("--out", out, "--seed", seed, "--threads", threads)
        run("train", "lenet5", "--data", few, "--epochs", 1, "--quiet", *options)
    a, b, c, d = (Path(name, "checkpoint.safetensors").read_bytes() for name in "abcd")
    assert a == b == c
    assert a != d


@pytest.mark.parametrize("variant", ["paper", "d2l"])
def test_every_variant_can_be_trained_and_evaluated(few, variant, capsys):
    run("train", "lenet5", "--variant", variant, "--data", few, "--epochs", 1, "--quiet")
    first = re.search("test accuracy .*", capsys.readouterr().out)[0]
    assert run("eval") == 0
    out = capsys.readouterr().out
    assert first in out
    assert f"lenet5 ({variant})" in out


def test_the_names_of_the_classes_are_shown(few, monkeypatch, capsys):
    monkeypatch.setenv("MINICNN_DATA", str(few.parent))
    assert run("train", "lenet5", "--data", "fashion-mnist", "--epochs", 1, "--quiet") == 0
    out = capsys.readouterr().out
    assert "0 T-shirt/top" in out
    assert "9 Ankle boot" in out
    assert read_metadata("runs/lenet5/checkpoint.safetensors")["classes"][9] == "Ankle boot"


def test_without_matplotlib_training_goes_on(few, monkeypatch, capsys):
    monkeypatch.setattr("minicnn.training.pictures.write_pictures", WRITE_PICTURES)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("train", "lenet5", "--data", few, "--epochs", 1, "--quiet") == 0
    assert capsys.readouterr().out.endswith('no pictures without matplotlib: pip install "minicnn[plot]"\n')
    assert set(os.listdir("runs/lenet5")) == FILES


# Evaluation and prediction


def test_eval_repeats_what_training_found(few, trained, capsys):
    last = metrics(trained)[-1]
    for path in (trained, trained / "checkpoint.safetensors"):
        assert run("eval", path) == 0
        out = capsys.readouterr().out
        assert f"test accuracy {last['test_accuracy']:.2%}" in out
        assert f"loss {last['test_loss']:.4f}" in out


def test_eval_takes_other_data_and_the_newest_run(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained.parent.parent)
    trained.parent.rename("runs")
    try:
        assert run("eval", "--data", "mnist5k") == 0
    finally:
        os.rename("runs", trained.parent)
    assert "1,000 test images of mnist5k" in capsys.readouterr().out


def test_many_classes_are_a_list_of_the_worst_confusions(capsys):
    from minicnn.cli.report import print_evaluation
    from minicnn.training import Evaluation

    confusion = np.diag(np.full(40, 5))
    confusion[3, 7], confusion[2, 0] = 9, 1
    print_evaluation(Evaluation(1.0, confusion), [f"c{i}" for i in range(40)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["9", "×", "c3", "taken", "for", "c7"],
        ["1", "×", "c2", "taken", "for", "c0"],
    ]


def test_the_name_of_a_class_is_no_markup(capsys):
    from minicnn.cli.report import print_evaluation
    from minicnn.training import Evaluation

    print_evaluation(Evaluation(1.0, np.eye(2, dtype=int)), ["[/]", "[red]cat"])
    out = capsys.readouterr().out
    assert "0 [/]" in out
    assert "1 [red]cat" in out


def test_an_error_commands_no_terminal(capsys):
    save("w.safetensors", {"c1.\x1b[2J\x07" + "x" * 1000: np.ones(1)})
    assert run("predict", "--model", "lenet5", "--weights", "w.safetensors", "a.png") == 2
    err = capsys.readouterr().err
    assert "unexpected: c1.�[2J�x" in err
    assert err.rstrip("\n").isprintable()
    assert len(err) < 500


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """One test digit three times: as it is, large and dark on light, in a small wide picture."""
    folder = tmp_path_factory.mktemp("pictures")
    digit = Image.fromarray(data.load("mnist5k")[1].images[3, 0])
    digit.save(folder / "as it is.png")
    Image.fromarray(255 - np.asarray(digit.resize((300, 300)))).save(folder / "large.jpg", quality=95)
    wide = Image.new("RGB", (60, 30), "black")
    wide.paste(digit, (20, 1))
    wide.save(folder / "wide.bmp")
    return sorted(folder.iterdir())


def test_predict_shows_the_three_likeliest(trained, pictures, capsys):
    assert run("predict", "--checkpoint", trained, *pictures) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    winners = set()
    for line, path in zip(lines, pictures, strict=True):
        named, shown = line.split(": ")
        assert named == str(path)
        found = re.fullmatch(r"(\d) \((.*)%\), (\d) \((.*)%\), (\d) \((.*)%\)", shown).groups()
        likely = [float(p) for p in found[1::2]]
        assert likely == sorted(likely, reverse=True)
        assert 0 < sum(likely) <= 100.1
        assert len(set(found[::2])) == 3
        winners.add(found[0])
    assert len(winners) == 1  # size and polarity make no difference


def test_predict_agrees_with_the_model(few, trained, pictures, capsys):
    from minicnn import no_grad, tensor
    from minicnn.training import load_trained

    run("predict", "--checkpoint", trained, pictures[0])
    shown = re.search(r": (\d) \((.*?)%\)", capsys.readouterr().out).groups()
    x = np.full((1, 1, 32, 32), 0, np.float32)
    x[0, 0, 2:30, 2:30] = data.read_digit(pictures[0])
    with no_grad():
        logits = load_trained(trained / "checkpoint.safetensors").model(
            tensor((x - 0.1307) / 0.3081, dtype="float32")
        )
    p = np.exp(logits.numpy()[0].astype(float))
    p /= p.sum()
    assert int(shown[0]) == p.argmax()
    assert float(shown[1]) == pytest.approx(100 * p.max(), abs=0.06)


# Looking at networks


def test_summary_prints_the_layers(capsys):
    assert run("summary", "lenet5", "--variant", "paper") == 0
    out = capsys.readouterr().out
    assert re.search(r"^total +60,000 +340,908 ", out, re.M)


def test_gradcheck_passes_and_says_so(capsys):
    assert run("gradcheck", "lenet5") == 0
    out = capsys.readouterr().out
    assert "all gradients agree" in out
    assert all(name in out for name, _ in models.lenet5().named_parameters())


def test_gradcheck_finds_a_wrong_gradient(monkeypatch, capsys):
    right = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda self, g: 1.01 * right(self, g))
    assert run("gradcheck", "lenet5") == 1
    out, err = capsys.readouterr()
    assert "wrong gradient for" in out
    assert err == ""


# What it runs on


def test_config_prints_all_there_is_to_know(capsys):
    assert run("config") == 0
    out = capsys.readouterr().out
    config = get_config()
    assert f"minicnn    {minicnn.__version__}\n" in out
    assert f"NumPy      {np.__version__}\n" in out
    for name in ("Python", "BLAS", "threads"):  # what is said of GPUs: test_config.py
        assert f"{name:<10} {config[name]}\n" in out
    assert out.count("note: ") == len(config["notes"])


OPENBLAS = {"user_api": "blas", "internal_api": "openblas", "version": "0.3.31", "architecture": "Haswell"}


@pytest.mark.parametrize(
    ("blas", "instructions", "said"),
    [
        ({}, {"X86_V3", "X86_V4"}, ["OPENBLAS_CORETYPE=SkylakeX"]),
        ({}, {"AVX512F", "AVX512_SKX"}, ["OPENBLAS_CORETYPE=SkylakeX"]),
        ({}, {"X86_V3"}, []),
        ({"architecture": "SkylakeX"}, {"X86_V4"}, []),
        ({"architecture": "Zen", "version": "0.3.34.1"}, {"X86_V4"}, ["CORETYPE", "overrun its stack"]),
        ({"architecture": "SkylakeX", "version": "0.3.34"}, {"X86_V4"}, []),
        ({"internal_api": "mkl"}, {"X86_V4"}, []),
    ],
)
def test_only_what_is_found_is_noted(blas, instructions, said):
    notes = _notes({**OPENBLAS, **blas}, instructions, threads=2, cpus=2)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    ("threads", "said"), [(1, ["1 of 2 CPUs are used"]), (2, []), (3, ["3 share 2 CPUs"])]
)
def test_the_number_of_threads_is_noted(threads, said):
    notes = _notes({**OPENBLAS, "internal_api": "mkl"}, set(), threads, cpus=2)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


def test_an_unknown_blas_is_noted():
    assert len(_notes(None, set(), threads=2, cpus=2)) == 1


# Mistakes


def truncated(folder, trained):
    (folder / "cut.safetensors").write_bytes((trained / "checkpoint.safetensors").read_bytes()[:-100])


def of_another_model(folder, trained):
    about = read_metadata(trained / "checkpoint.safetensors")
    save(folder / "other.safetensors", models.lenet5("paper").state_dict(), about)


MISTAKES = {
    "": "COMMAND",
    "trian lenet5": "no command 'trian'; did you mean 'train'",
    "measure": "no command 'measure'; there are train, eval",
    "train": "MODEL",
    "train lenet": "no model 'lenet'; did you mean 'lenet5'",
    "train qqq": "no model 'qqq'; there are",
    "train lenet5 --variant modrn": "got 'modrn'; did you mean 'modern'",
    "train lenet5 --data mnist5": "got 'mnist5'; did you mean 'mnist5k'",
    "train lenet5 --data .": "load: ",
    "train lenet5 --data cifar": "LeNet5Modern: the images must be 1×32×32, .* 3×32×32",
    "train lenet5 --epochs 0": "--epochs: must be a whole number of at least 1, got '0'",
    "train lenet5 --epochs 1.5": "--epochs: must be a whole number of at least 1, got '1.5'",
    "train lenet5 --epochs": "--epochs: expected one argument",
    "train lenet5 --batch-size -3": "--batch-size: must be a whole number of at least 1, got '-3'",
    "train lenet5 --lr nan": "--lr: must be a number greater than 0, got 'nan'",
    "train lenet5 --lr inf": "--lr: must be a number greater than 0, got 'inf'",
    "train lenet5 --lr fast": "--lr: must be a number greater than 0, got 'fast'",
    "train lenet5 --lr 0": "--lr: must be a number greater than 0, got '0'",
    "train lenet5 --lr 1e30 --quiet": "the loss must stay finite",
    "train lenet5 --seed -1": "--seed: must be a whole number of at least 0, got '-1'",
    "train lenet5 --threads 0": "--threads: must be a whole number of at least 1, got '0'",
    "train lenet5 --out file/run": "[Nn]ot a directory: file|[Ff]ile exists: file",
    "train lenet5 --set num_classes=3": "num_classes is that of the data, 10 of 'mnist5k'; got 3",
    "train lenet5 --set model=vgg11": "--set: must not be the model",
    f"train lenet5 --set a={'-' * 5000}1": "unexpected keyword argument 'a'",
    "train lenet5 --ot x": "unrecognized arguments: --ot x",
    "eval": "no run in 'runs' yet",
    "eval none": "no file 'none'",
    "eval file": "'file' is no whole safetensors file",
    "eval cut.safetensors": "'cut.safetensors' is no whole safetensors file",
    "eval other.safetensors": "the state does not fit LeNet5Modern",
    "eval .": "no run folder",
    "eval TRAINED --data fashion-mnist": "tells 0, 1, .* apart; .* T-shirt/top",
    "predict": "IMAGE",
    "predict file": "no run in 'runs' yet",
    "predict --checkpoint TRAINED file": "'file' is no readable picture",
    "predict --checkpoint TRAINED none.png": "no file 'none.png'",
    "predict --checkpoint TRAINED blank.png": "no ink in 'blank.png'",
    "predict --checkpoint cut.safetensors file": "no whole safetensors file",
    "summary lenet4": "no model 'lenet4'; did you mean 'lenet5'",
    "summary lenet5 --variant papier": "did you mean 'paper'",
    "gradcheck lenet": "did you mean 'lenet5'",
    "config now": "unrecognized arguments: now",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items(), ids=str)
def test_a_mistake_is_one_line_and_status_2(line, message, few, trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("neither picture nor checkpoint\n" * 9)
    Image.new("L", (30, 30), "white").save(tmp_path / "blank.png")
    truncated(tmp_path, trained)
    of_another_model(tmp_path, trained)
    monkeypatch.setenv("MINICNN_DATA", str(few.parent))
    if "cifar" in line:
        monkeypatch.setattr("minicnn.data.load", lambda name: (colours(), colours()))
    capsys.readouterr()
    assert run(*line.replace("TRAINED", str(trained)).split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"minicnn: .*({message}).*\n", err), err


def colours():
    return data.Dataset(
        np.zeros((9, 3, 32, 32), np.uint8), np.zeros(9, np.int64), tuple("0123456789"), "cifar"
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind here")
def test_an_unwritable_folder_is_a_mistake(few, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run("train", "lenet5", "--data", few, "--out", "locked/run") == 2
    assert re.fullmatch(r"minicnn: Permission denied: locked/run\n", capsys.readouterr().err)


def test_a_full_disk_is_one_line(few, monkeypatch, capsys):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("train", "lenet5", "--data", few, "--epochs", 1) == 2
    assert capsys.readouterr().err == "minicnn: No space left on device\n"


# Processes


def test_python_m_minicnn_is_the_command():
    done = start("summary", "lenet5")
    out, err = done.communicate(timeout=60)
    assert (done.returncode, err) == (0, "")
    assert "LeNet5Modern" in out


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_ctrl_c_leaves_the_last_epoch_whole(few, tmp_path):
    process = start("train", "lenet5", "--data", few, "--epochs", 10_000)
    checkpoint = tmp_path / "runs/lenet5/checkpoint.safetensors"
    wait_for(checkpoint.exists, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = read_metadata(checkpoint)["epoch"]
    assert err == f"minicnn: interrupted; runs/lenet5/checkpoint.safetensors holds epoch {kept}\n"
    if kept > 1:  # else it may have struck between the checkpoint and the metrics' first line
        assert kept - len(metrics(checkpoint.parent)) in (0, 1)
    assert load(checkpoint).keys() == models.lenet5().state_dict().keys()
    assert set(os.listdir(checkpoint.parent)) <= FILES
    assert "Traceback" not in out


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_ctrl_c_before_the_first_epoch_ends(tmp_path):
    process = start("train", "lenet5")
    wait_for((tmp_path / "runs/lenet5/settings.json").exists, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"minicnn: interrupted(; there is no checkpoint yet)?\n", err)


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE's convention")
def test_a_closed_pipe_is_quiet():
    process = start("summary", "lenet5")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


def test_nothing_heavy_is_loaded_until_it_is_needed():
    code = (
        "import sys, minicnn.cli, minicnn.training, minicnn.weights\n"
        "heavy = {'rich', 'matplotlib', 'PIL', 'safetensors', 'pooch'}\n"
        "print(heavy & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
