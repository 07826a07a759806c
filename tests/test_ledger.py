"""The ledger: what is printed against what is built, the rule between them, and whether a wrong figure can hide."""

from __future__ import annotations

import io
import json
import math
import re
import tracemalloc
from dataclasses import replace
from decimal import Decimal
from functools import cache
from importlib import import_module
from types import SimpleNamespace

import pytest
from rich.console import Console

import minicnn
from minicnn import models, nn
from minicnn.cli import main
from minicnn.study import cost, summary
from minicnn.study.ledger import Claim, Entry, entries, judge, totals
from minicnn.study.ledger import verdict as verdict
from minicnn.study.ledger.claim import UNVERIFIED, cut_off, deviates, table
from minicnn.study.ledger.measure import configuration, measure
from minicnn.study.ledger.printed import Number, parse
from minicnn.study.ledger.report import lines, renderables


@cache
def ledger() -> tuple[Entry, ...]:
    return entries()


def claims() -> list[Claim]:
    return [entry.claim for entry in ledger()]


# The ledger as it stands


def test_every_figure_is_equal_rounds_or_is_explained():
    assert [entry for entry in ledger() if not entry.settled] == []
    assert len(ledger()) > 300


def test_every_model_has_a_row():
    assert {configuration(claim.network)["model"] for claim in claims()} == set(models.list_models())


COUNTED = {  # independent implementations': parameters, multiply-adds
    "lenet5 variant=paper": ("60,000", None),
    "lenet5 variant=modern": ("61,706", "0.42 M"),
    "alexnet variant=paper": ("60,965,224", "724 M"),
    "alexnet variant=single": ("62,378,344", "1,135 M"),
    "alexnet variant=torchvision": ("61,100,840", "714 M"),
    "vgg11": ("132,863,336", "7.61 G"),
    "vgg13": ("133,047,848", "11.31 G"),
    "vgg variant=C": ("133,638,952", "11.77 G"),
    "vgg16": ("138,357,544", "15.47 G"),
    "vgg19": ("143,667,240", "19.63 G"),
    "vgg11_bn": ("132,868,840", None),
    "vgg13_bn": ("133,053,736", None),
    "vgg16_bn": ("138,365,992", None),
    "vgg19_bn": ("143,678,248", None),
    "nin variant=cifar": ("966,986", "222 M"),
    "googlenet variant=paper aux_logits=False": ("6,998,552", "1.583 G"),
    "googlenet variant=paper": ("13,378,280", None),
    "googlenet aux_logits=False": ("6,624,904", "1.498 G"),
    "googlenet": ("13,004,888", None),
    "inception_v2": ("11,295,240", None),
    "inception_v3 aux_logits=False": ("23,834,568", "5.713 G"),
    "inception_v3": ("27,161,264", None),
    "inception_v4": ("42,679,816", None),
    "inception_resnet_v2": ("55,843,464", None),
    "plain18": ("11,515,688", None),
    "plain34": ("21,623,848", None),
    "resnet34 variant=paper shortcut=A": ("21,623,848", None),
    "resnet18 variant=paper": ("11,689,512", "1.814 G"),
    "resnet34 variant=paper": ("21,797,672", "3.664 G"),
    "resnet50 variant=paper": ("25,557,032", "3.858 G"),
    "resnet101 variant=paper": ("44,549,160", "7.570 G"),
    "resnet152 variant=paper": ("60,192,808", "11.282 G"),
    "resnet18": ("11,689,512", "1.814 G"),
    "resnet34": ("21,797,672", "3.664 G"),
    "resnet50": ("25,557,032", "4.089 G"),
    "resnet101": ("44,549,160", "7.801 G"),
    "resnet152": ("60,192,808", "11.514 G"),
    "resnet_cifar depth=20": ("269,722", None),
    "resnet_cifar depth=32": ("464,154", None),
    "resnet_cifar depth=44": ("658,586", None),
    "resnet_cifar depth=56": ("853,018", None),
    "resnet_cifar depth=110": ("1,727,962", None),
    "resnet_cifar depth=1202": ("19,421,274", None),
    "resnet_cifar depth=20 shortcut=B": ("272,474", None),
    "resnet_cifar depth=1202 shortcut=B": ("19,424,026", None),
}


@pytest.mark.parametrize("network", COUNTED)
def test_counts_of_others_are_met(network):
    parameters, macs = COUNTED[network]
    whole = [
        (c.quantity, c.printed, e.verdict)
        for c, e in zip(claims(), ledger(), strict=True)
        if c.network == network
    ]
    assert ("parameters", parameters, "equal") in whole
    assert macs is None or ("MACs", macs, "rounds") in whole


def test_what_is_known_to_contradict_itself_is_said_to():
    contradicted = {
        (e.claim.network.split()[0], e.claim.quantity, e.claim.printed, e.ours)
        for e in ledger()
        if e.verdict == "the paper contradicts itself"
    }
    assert contradicted >= {
        ("alexnet", "input", "224×224×3", "227×227×3"),
        ("alexnet", "units", "253,440", "290,400"),
        ("googlenet", "weights", "2.7K", "9,408"),
        ("googlenet", "MACs", "34M", "118,013,952"),
        ("inception_v2", "parameters", "13.6·10⁶", "11,295,240"),
    }


def equations(text: str) -> list[tuple[str, str]]:
    """Return the sides of each formula in a text, such as ``7·7·3·64`` and ``9,408``."""
    side = r"[\d(](?:[,.](?=\d)|[\d·+−/²() ])*"
    return re.findall(rf"({side}) = (?=({side}))", re.sub(r"\s+", " ", text))


def value(side: str) -> Decimal:
    side = side.strip()
    if side.count("(") < side.count(")"):
        side = side.rstrip(")")
    for printed, python in ((",", ""), ("·", "*"), ("−", "-"), ("²", "**2")):
        side = side.replace(printed, python)
    return Decimal(str(eval(side, {"__builtins__": {}})))


def test_the_arithmetic_in_reasons_is_right():
    texts = [claim.because.reason for claim in claims() if claim.because]
    texts += [paper.__doc__ or "" for paper in verdict.PAPERS]
    found = [pair for text in texts for pair in equations(text)]
    assert len(set(found)) > 50
    for left, right in found:
        assert abs(value(left) - value(right)) <= Decimal("0.5"), f"{left} = {right}"
    assert sum(text.count(" = ") for text in texts) == len(found), "a formula that was not read"


@pytest.mark.parametrize(
    ("network", "rectified_sums", "printed"),
    [
        ("inception_v2", 0, "2,048.06 M"),
        ("inception_v3 aux_logits=False", 0, "5,743.06 M"),
        ("inception_v4", 0, "12,304.93 M"),
        # a ReLU for each sum of the residual blocks but the last; what is added comes from `up`, which has a bias
        ("inception_resnet_v2", 10 * 320 * 35**2 + 20 * 1088 * 17**2 + 9 * 2080 * 8**2, "13,188.64 M"),
    ],
)
def test_what_others_count_beside_multiply_adds_is_as_the_reasons_say(network, rectified_sums, printed):
    """Half the floating-point operations, by the rules of imgclsmob, whose printed figures these are."""
    parts = measure(network)
    with minicnn.device("meta"):
        modules = dict(models.get_model(**configuration(network)).named_modules())
    normalised = pooled = joined = 0
    for name in modules.keys() & parts.keys():
        module, outputs = modules[name], math.prod(parts[name].output_shape)
        if isinstance(module, nn.BatchNorm2d):
            normalised += outputs
        elif isinstance(module, nn.Conv2d) and module.bias is None:
            joined += module.weight.shape[0] * module.weight.shape[1]
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            pooled += cost(module, parts[name].input_shape, parts[name].output_shape).connections
    operations = 5 * normalised + rectified_sums + pooled - joined
    assert parse(printed).rounds(parts[""].macs + operations // 2)
    for claim in claims():
        if claim.network == network and claim.quantity == "MACs" and claim.because and claim.because.ours:
            assert f" = {parts[''].macs + operations // 2:,}" in claim.because.reason
            assert all(f"{n:,}" in claim.because.reason for n in (normalised, pooled, joined) if n)


# The rule


@pytest.mark.parametrize(
    ("text", "ours", "agrees"),
    [
        ("122,304", 122_304, "equals"),
        ("122,304", 122_305, ""),
        ("60,000", 60_001, ""),
        ("4096", 4096, "equals"),
        ("138 M", 138_000_000, "equals"),
        ("138 M", 138_499_999, "rounds cuts"),
        ("138 M", 138_500_001, "cuts"),
        ("138 M", 137_500_000, "rounds"),
        ("138 M", 137_499_999, ""),
        ("138M", 139_000_000, ""),
        ("60 million", 60_965_224, "cuts"),
        ("3.8×10⁹", 3_857_973_248, "cuts"),
        ("3.9×10⁹", 3_857_973_248, "rounds"),
        ("11.3×10⁹", 11_282_415_616, "rounds"),
        ("13.6·10⁶", 13_649_999, "rounds cuts"),
        ("0.27 M", 269_722, "rounds"),
        ("2.7K", 2_749, "rounds cuts"),
        ("15.3 billion", 15_346_630_656, "rounds cuts"),
        ("< 25 million", 24_999_999, "equals"),
        ("< 25 million", 25_000_000, ""),
        ("6@28×28", (6, 28, 28), "equals"),
        ("28×28×6", (6, 28, 28), "equals"),
        ("28×6×28", (6, 28, 28), ""),
        ("28×28", (6, 28, 28), "equals"),
        ("28×27", (6, 28, 28), ""),
        ("1×1×84", (84,), "equals"),
        ("1×1×84", (85,), ""),
    ],
)
def test_a_printed_figure_agrees_with_what_it_may_have_been_rounded_from(text, ours, agrees):
    printed = parse(text)
    rules = {"equals": printed.equals, "rounds": printed.rounds, "cuts": printed.cuts}
    close = [name for name, rule in rules.items() if rule(ours)]
    assert (["equals"] if "equals" in close else close) == agrees.split()


def test_k_may_be_1024():
    assert parse("112K", kilo=1024) == Number(Decimal(112 * 1024), Decimal(1024))
    assert parse("1M", kilo=1024).equals(1 << 20)
    assert parse("1×10⁶", kilo=1024).equals(10**6)


@pytest.mark.parametrize("text", ["", "K", "1.8e9", "about 5", "12%", "2@3×4×5", "28×", "5 bn", "-3", "1..2"])
def test_what_is_no_figure_is_refused(text):
    with pytest.raises(ValueError, match=re.escape(f"cannot read the printed figure {text!r}")):
        parse(text)


@pytest.mark.parametrize("agreeing", [True, False], ids=["equal or rounds", "explained"])
def test_a_wrong_figure_cannot_hide(agreeing):
    """Each row, its print or its explained figure changed by 2 in the last digit, becomes unexplained."""

    def off_by_2(text: str) -> str:
        *head, digit, tail = re.fullmatch(r"(.*?[@×]?)(\d)((?: ?[KMG]| ?\w*illion|[·×]10.)?)", text).groups()
        return "".join([*head, str((int(digit) + 2) % 10), tail])

    changed = 0
    for entry, claim in zip(ledger(), claims(), strict=True):
        if (claim.because is None) != agreeing or claim.printed.startswith("<"):
            continue
        if claim.because and claim.because.ours:
            wrong = replace(claim, because=replace(claim.because, ours=off_by_2(claim.because.ours)))
        else:
            wrong = replace(claim, printed=off_by_2(claim.printed))
        assert judge(wrong).verdict == "unexplained", (entry, wrong)
        changed += 1
    assert changed > (250 if agreeing else 35)


@pytest.mark.parametrize("row", ["3a", "5a"], ids=["equal or rounds", "explained"])
def test_a_network_that_is_not_the_one_of_its_paper_is_found_out(monkeypatch, capsys, row):
    """One map more after a module's 1×1 convolutions, which no output shows; GoogLeNet's (5a) has excuses."""
    widths = import_module("minicnn.models.googlenet").TABLE_1
    inputs, one, reduced, *rest = widths[row]
    monkeypatch.setitem(widths, row, (inputs, one, reduced + 1, *rest))
    measure.cache_clear()
    try:
        assert main(["ledger", "googlenet"]) == 1
    finally:
        measure.cache_clear()
    wrong = [line for line in capsys.readouterr().out.splitlines() if "unexplained" in line]
    assert any(f"Table 1, ({row})" in line and "weights" in line for line in wrong)
    assert any("whole network" in line and "parameters" in line for line in wrong)


def test_a_difference_without_a_reason_is_unexplained():
    explained = [claim for claim in claims() if claim.because]
    assert {judge(replace(claim, because=None)).verdict for claim in explained} == {"unexplained"}


def test_a_reason_that_is_not_needed_is_an_error():
    agreeing = [entry for entry in ledger() if entry.claim.because is None]
    for entry in agreeing:
        for reason in (cut_off(), deviates(entry.ours, "no reason")):
            stale = judge(replace(entry.claim, because=reason))
            assert (stale.verdict, stale.settled) == ("unexplained", entry.claim.source == UNVERIFIED)


def test_what_is_only_remembered_is_shown_and_decides_nothing():
    wrong = judge(Claim("nin variant=imagenet", "hearsay", "parameters", "7,595,177", source=UNVERIFIED))
    assert wrong.verdict == "unexplained"
    assert wrong.settled
    assert totals([wrong]).endswith(" 0 unexplained; 1 not verified")


# Tables


def test_a_table_is_read_as_it_is_printed():
    cut = cut_off()
    read = table(
        "Table 9",
        """
        row         layers   input    output     MACs
        first conv  c1       –        6@28×28    –
        both        c1 + c3  1@32×32  16@10×10   0.3 M
        """,
        network="lenet5",
        because={("both", "MACs"): cut},
    )
    assert [(c.where, c.layers, c.quantity, c.printed, c.because) for c in read] == [
        ("Table 9, first conv", "c1", "output", "6@28×28", None),
        ("Table 9, both", "c1 + c3", "input", "1@32×32", None),
        ("Table 9, both", "c1 + c3", "output", "16@10×10", None),
        ("Table 9, both", "c1 + c3", "MACs", "0.3 M", cut),
    ]
    assert [judge(claim).ours for claim in read] == ["6@28×28", "1@32×32", "16@10×10", "357,600"]


@pytest.mark.parametrize(
    ("text", "because", "message"),
    [
        ("network  MACs\nlenet5", {}, "has 2 columns, but the row 'lenet5'"),
        ("network  MACs\nlenet5  1", {("lenet5", "units"): cut_off()}, "has no lenet5 units to explain"),
        ("network  MACs\nlenet5  –", {("lenet5", "MACs"): cut_off()}, "has no lenet5 MACs to explain"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text, because, message):
    with pytest.raises(ValueError, match=message):
        table("Table 9", text, because=because)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (Claim("lenet5", "", "neurons", "1"), "a quantity is one of input, output, .*, got 'neurons'"),
        (Claim("lenet5", "", "units", "1", "c1 + c7"), "lenet5 has no layer 'c7'"),
        (Claim("lenet6", "", "units", "1"), "did you mean 'lenet5'"),
    ],
)
def test_a_claim_about_nothing_is_refused(claim, message):
    with pytest.raises(ValueError, match=message):
        judge(claim)


# Measuring


@pytest.mark.parametrize("network", ["lenet5 variant=paper", "lenet5 variant=d2l", "resnet_cifar depth=20"])
def test_a_network_of_shapes_measures_as_one_of_numbers(network):
    real = summary(models.get_model(**configuration(network)))
    parts = measure(network)
    assert {row.name: (row.output_shape, row.macs, row.connections) for row in real.rows} == {
        row.name: (parts[row.name].output_shape, parts[row.name].macs, parts[row.name].connections)
        for row in real.rows
    }
    whole = parts[""]
    assert (whole.parameters, whole.macs, whole.connections) == (real.parameters, real.macs, real.connections)


def test_a_group_costs_what_its_layers_do():
    parts = measure("resnet50")
    blocks = [parts[f"layer2.{i}"] for i in range(4)]
    group = parts["layer2"]
    assert group.macs == sum(block.macs for block in blocks)
    assert group.parameters == sum(block.parameters for block in blocks)
    assert (group.input_shape, group.output_shape) == (blocks[0].input_shape, blocks[-1].output_shape)


def test_heads_for_training_are_measured_and_do_not_count_in_the_whole():
    with_heads, without = (
        measure("googlenet variant=paper"),
        measure("googlenet variant=paper aux_logits=False"),
    )
    assert with_heads["aux1.fc2"].output_shape == (1000,)
    assert with_heads["aux1"].macs == 128 * 512 * 16 + 2048 * 1024 + 1024 * 1000
    assert with_heads[""].macs == without[""].macs
    assert with_heads[""].parameters > without[""].parameters


def test_no_weights_are_allocated():
    tracemalloc.start()
    measure.__wrapped__("vgg19")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # its weights are 575 MB


# The command


def test_the_command_prints_rows_reasons_and_totals(capsys):
    assert main(["ledger", "vgg16"]) == 0
    printed = capsys.readouterr().out
    where, verdict = "  He et al. 2015, section 4.1  paper  ", "the paper contradicts itself [1]\n"
    assert f"{where}  MACs        15.3 billion  15,470,264,320  {verdict}" in printed
    assert "\n  [1] the dense layers take 25088·4096 + " in printed
    assert printed.endswith(
        "\n1 equal, 1 round, 1 contradicted by the paper itself, 0 deviate, 0 unexplained\n"
    )


def test_the_command_prints_json(capsys):
    assert main(["ledger", "nin", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [
        (row["network"], row["quantity"], row["ours"], row["verdict"], row["source"]) for row in rows
    ] == [
        ("nin variant=cifar", "parameters", "966,986", "equal", "counted"),
        ("nin variant=cifar", "MACs", "222,486,528", "rounds", "counted"),
        ("nin variant=imagenet", "parameters", "7,595,176", "equal", "not verified"),
        ("nin variant=imagenet", "MACs", "1,105,996,320", "rounds", "not verified"),
    ]


def test_a_terminal_gets_tables():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    console.print(*renderables(entries("alexnet")), sep="\n")
    printed = console.file.getvalue()
    assert "───" in printed
    assert "227×227×3" in printed
    assert "[1] conv1's windows of 11×11" in printed


def test_a_narrow_terminal_wraps_words_and_never_cuts_a_figure():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    console.print(*renderables(ledger()), sep="\n")
    printed = console.file.getvalue()
    assert all(entry.claim.printed in printed and entry.ours in printed for entry in ledger())
    assert "…" not in printed


def test_reasons_are_numbered_and_shared():
    text = "\n".join(lines(entries("googlenet")))
    assert text.count("480·(192 + 96 + 16 + 64)") == 1
    assert len(re.findall(r"the paper contradicts itself \[2\]", text)) == 2


@pytest.mark.parametrize(
    ("figure", "status", "said"),
    [("60,000", 0, " 0 unexplained"), ("60,001", 1, " 1 unexplained")],
)
def test_an_unexplained_figure_makes_the_status_1(monkeypatch, capsys, figure, status, said):
    paper = SimpleNamespace(CLAIMS=[Claim("lenet5 variant=paper", "Table 0", "parameters", figure)])
    monkeypatch.setattr(verdict, "PAPERS", (paper,))
    assert main(["ledger"]) == status
    assert said in capsys.readouterr().out


def test_a_model_without_figures_is_said_to_have_none(monkeypatch, capsys):
    monkeypatch.setattr(verdict, "PAPERS", ())
    assert main(["ledger", "lenet5"]) == 0
    assert capsys.readouterr().out == "no paper here prints a figure of lenet5\n"


def test_an_unknown_model_suggests_the_nearest(capsys):
    assert main(["ledger", "resnet5"]) == 2
    assert (
        capsys.readouterr().err == "minicnn: ledger: there is no model 'resnet5'; did you mean 'resnet50'?\n"
    )
