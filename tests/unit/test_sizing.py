"""The calculator of `jobs.plan`: its sums, its growth, its answers to bad input, and that the lists it ships are those of cluster/ and docs/."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.sizing import dataset, flow, machines, unit_costs
from codelib.sizing.clinic import Assumed, Clinic, Nodes, Translate
from codelib.sizing.figure import Figure, Section, about, table
from codelib.train.gpus import known as known_gpus
from jobs.plan import main

ROOT = Path(__file__).parents[2]
KNOWN, COSTS = machines.known(), unit_costs.shipped()
ASSUMED = Assumed()
VISITS = st.integers(1, 20_000_000)
CLINICS = st.builds(
    Clinic,
    visits=VISITS,
    photographs_per_visit=st.floats(0.1, 30),
    photograph_megapixels=st.floats(0.5, 60),
    photograph_megabytes=st.floats(0.1, 30),
    radiographs_per_visit=st.floats(0, 5),
    radiograph=st.sampled_from([one.name for one in COSTS.files]),
    screens=st.booleans(),
)
WORKERS = st.builds(
    Nodes,
    machine=st.sampled_from(KNOWN.machines),
    count=st.integers(1, 200),
    market=st.sampled_from(["on_demand", "spot"]),
)


def plan(clinic: Clinic, workers: Nodes | None = None, translate: Translate | None = None) -> Section:
    workers = workers or Nodes(machine=KNOWN.named("c7i.16xlarge"), count=4)
    head = Nodes(machine=KNOWN.named("m7i.2xlarge"), count=1)
    return dataset.plan(clinic, workers, head, COSTS, ASSUMED, translate or Translate())


# growth and sums


@settings(max_examples=40, deadline=None)
@given(CLINICS, WORKERS, st.integers(1, 1_000_000))
def test_more_visits_never_take_less(clinic: Clinic, workers: Nodes, more: int) -> None:
    few, many = (plan(clinic.model_copy(update={"visits": visits}), workers) for visits in (clinic.visits, clinic.visits + more))
    for one, other in zip(few.figures, many.figures, strict=True):
        assert (one.name, one.unit) == (other.name, other.unit)
        if one.value is not None and other.value is not None and not of_time(one):
            assert other.value >= one.value * (1 - 1e-9), one.name


@settings(max_examples=40, deadline=None)
@given(CLINICS, WORKERS)
def test_ten_times_as_many_visits_never_take_less_time(clinic: Clinic, workers: Nodes) -> None:
    """Not of any more: where a search is cut into more tasks, more of them run side by side."""
    few, many = (plan(clinic.model_copy(update={"visits": n * clinic.visits}), workers) for n in (1, 10))
    for one, other in zip(few.figures, many.figures, strict=True):
        if one.value is not None and of_time(one) and one.unit != "Gbit/s":
            assert (other.value or 0) >= one.value * (1 - 1e-9), one.name


def of_time(figure: Figure) -> bool:
    """Hours, what is paid by the hour, and averages over the hours."""
    return figure.unit in ("h", "Gbit/s") or figure.name in ("money: workers", "money: head")


@settings(max_examples=60, deadline=None)
@given(CLINICS, WORKERS)
def test_sums_add_up(clinic: Clinic, workers: Nodes) -> None:
    found = plan(clinic, workers)
    done = flow.stages(clinic, workers, COSTS, ASSUMED, COSTS.partition_visits)

    def value(name: str) -> float:
        return found[name].value or 0.0

    work = sum(one.cpu_s for one in done) / 3600
    assert value("CPU time, images") + value("CPU time, all other stages") == pytest.approx(work)
    assert value("time") == pytest.approx(value("stages") + value("driver alone"))
    assert value("stages") == pytest.approx(sum(one.hours for one in done))
    assert value("workspace") == pytest.approx(value("workspace: tables and images") + value("workspace: release/parquet"))
    # no machine works faster than all of its CPUs
    assert value("stages") * workers.cpus * ASSUMED.efficiency >= work * (1 - 1e-9)


@settings(max_examples=40, deadline=None)
@given(CLINICS, st.integers(1, 50))
def test_more_machines_never_take_longer(clinic: Clinic, count: int) -> None:
    machine = KNOWN.named("c7i.16xlarge")
    few, many = (plan(clinic, Nodes(machine=machine, count=n))["time"].value for n in (count, 2 * count))
    assert few is not None
    assert many is not None
    assert many <= few * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(CLINICS)
def test_screens_cost_and_their_absence_saves(clinic: Clinic) -> None:
    on, off = (plan(clinic.model_copy(update={"screens": screens}))["CPU time, images"].value for screens in (True, False))
    assert on is not None
    assert off is not None
    assert on > off


def test_money_is_hours_times_machines_times_price() -> None:
    workers = Nodes(machine=KNOWN.named("c7i.16xlarge"), count=3, market="spot")
    found = plan(Clinic(visits=100_000), workers)
    price = workers.machine.spot
    assert price is not None
    assert found["money: workers"].value == pytest.approx(3 * (found["time"].value or 0) * price)
    assert found["money: workers"].unit == "USD"


def test_a_price_that_nobody_knows_is_said_and_not_guessed() -> None:
    found = plan(Clinic(visits=1000), Nodes(machine=KNOWN.named("c3-highcpu-44"), count=1))["money: workers"]
    assert found.value is None
    assert "--price c3-highcpu-44=" in found.how
    assert found.said == "not known"


def test_a_given_price_is_in_dollars_whatever_the_list_has() -> None:
    machine = KNOWN.with_prices({"ecs.c8i.16xlarge": 1.5}).named("ecs.c8i.16xlarge")
    found = plan(Clinic(visits=1000), Nodes(machine=machine, count=1))["money: workers"]
    assert found.unit == "USD"
    assert "x 1.5 USD" in found.how


@given(st.floats(0, 0.99), st.integers(1, 10_000_000))
def test_repeated_text_is_not_paid_for(repeats: float, visits: int) -> None:
    clinic = Clinic(visits=visits)
    whole = dataset.asked(clinic, COSTS, Translate(model="gpt-4o-2024-11-20"))
    less = dataset.asked(clinic, COSTS, Translate(model="gpt-4o-2024-11-20", repeats=repeats))
    assert less == pytest.approx(tuple((1 - repeats) * one for one in whole))
    assert dataset.asked(clinic, COSTS, Translate()) == (0, 0, 0)


def test_the_drivers_reads_on_an_object_store_are_said_beside_the_time() -> None:
    workers = Nodes(machine=KNOWN.named("c7i.16xlarge"), count=20)
    said = "31,250 partitions x 14.3 files x 3 requests x 30 ms / 16 at once / 3600 = 0.698 h"
    assert any(said in note for note in plan(Clinic(visits=1_000_000), workers).notes)


# the lists


def test_every_machine_of_the_clusters_is_known_with_its_size() -> None:
    for cloud, field in (("aws", "InstanceType"), ("gcp", "machineType"), ("aliyun", "InstanceType")):
        types = yaml.safe_load((ROOT / "cluster" / f"{cloud}.yaml").read_text())["available_node_types"]
        for name, kind in types.items():
            machine = KNOWN.named(kind["node_config"][field])
            assert machine.cloud == cloud
            assert machine.gpus == kind["resources"].get("GPU", 0), name
            if name != "head":
                assert machine.vcpus == kind["resources"]["CPU"], name


def test_every_gpu_is_known_to_the_forecast_and_has_its_bandwidth() -> None:
    for machine in KNOWN.machines:
        assert (machine.gpu is None) == (machine.gpus == 0)
        if machine.gpu:
            assert machine.gpu in known_gpus()
            assert KNOWN.bandwidth(machine.gpu)


def test_every_price_says_where_it_is_from() -> None:
    for machine in KNOWN.machines:
        priced = machine.on_demand is not None or machine.spot is not None
        assert priced == bool(machine.price_source)
        assert priced == bool(machine.as_of)


# what is shown


@given(st.floats(1e-9, 1e15))
def test_three_digits_say_the_value(value: float) -> None:
    assert float(about(value).replace(",", "")) == pytest.approx(value, rel=6e-3)
    assert "e" not in about(value)


def test_a_table_has_a_row_for_each_figure() -> None:
    section = Section("t", (Figure("a", 1.0, "h", ""), Figure("b", None, "USD", "")))
    lines = table({"x": [section], "y": [section]})
    assert lines[2:] == ["| **t** | | |", "| a | 1.00 h | 1.00 h |", "| b | not known | not known |"]


def test_the_job_prints_every_figure_with_its_sum(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    options = ["--visits", "10000", "--gpu-nodes", "1", "p4de.24xlarge", "--translate", "gpt-4o-2024-11-20", "--stages"]
    assert main([*options, "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    written: dict[str, Any] = json.loads(file.read_text())
    for section in written["10,000 visits"]:
        assert section["title"] in shown
        for figure in section["figures"]:
            assert figure["how"]
            assert figure["how"] in shown
    assert len(written["10,000 visits"]) == 3
    assert "duplicates" in shown


def test_a_share_of_the_peak_is_the_recipe_s_or_the_option_s(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for name, more in {"": [], "set": ["--set", "mfu=0.8"], "option": ["--set", "mfu=0.1", "--mfu", "0.8"]}.items():
        assert main(["--visits", "10000", "--gpu-nodes", "1", "p4de.24xlarge", *more]) == 0
        shown[name] = capsys.readouterr().out
    assert " x 0.4)" in shown[""] and " x 0.8)" not in shown[""]
    assert shown["set"] == shown["option"] and " x 0.8)" in shown["set"] and " x 0.4)" not in shown["set"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--visits", "0"], "--visits 0: must be greater than or equal to 1"),
        (["--visits", "10", "--workers", "2", "c7i.16xlarg"], "did you mean c7i.16xlarge?"),
        (["--visits", "10", "--workers", "0", "c7i.16xlarge"], "--workers 0 c7i.16xlarge: give a number"),
        (["--visits", "10", "--photographs", "0", "--radiographs", "0"], "without an image is not released"),
        (["--visits", "1000000000", "--photographs", "1000"], "at most; give fewer visits"),
        (
            ["--visits", "10", "--radiograph", "panoramic"],
            "--radiograph panoramic: no such sort of file was measured; did you mean",
        ),
        (["--visits", "10", "--efficiency", "1.5"], "--efficiency 1.5"),
        (["--visits", "10", "--price", "c7i.16xlarge"], "--price c7i.16xlarge: give a machine's name"),
        (["--visits", "10", "--price", "c7i=1"], "--price c7i: unknown machine"),
        (["--visits", "10", "--gpu-nodes", "1", "c7i.16xlarge"], "has no GPU"),
        (["--visits", "10", "--gpu-nodes", "100", "p4de.24xlarge"], "every GPU needs a sample"),
        (["--visits", "10", "--gpu-nodes", "1", "p4de.24xlarge", "--recipe", "paper-7"], "did you mean paper-7b?"),
        (["--visits", "10", "--partition-visits", "0"], "--partition-visits 0: at least 1"),
        (["--visits", "10", "--machines", "/nowhere.yaml"], "no such file"),
        (["--visits", "10", "--json", "/nowhere/plan.json"], "--json /nowhere/plan.json: name a file in a folder that is there"),
        (["--visits", "10", "--set", "global_batch=64"], "--set changes nothing without --gpu-nodes N TYPE"),
        (["--visits", "10", "--recipe", "paper-3b"], "--recipe changes nothing without --gpu-nodes N TYPE"),
        (["--visits", "10", "--batch-api"], "--batch-api changes nothing without --translate MODEL"),
        (["--visits", "10", "--table", "--stages"], "--table has no room for --stages"),
        (["--visits", "10", "--visit", "3"], "--visit: unknown option; did you mean --visits?"),
    ],
)
def test_what_cannot_be_is_said_with_place_value_and_way_out(options: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        main(options)


def test_a_list_of_ones_own_is_read_and_a_bad_one_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "note: ours\nbandwidths: []\nmachines:\n  - {name: box, cloud: hpc, vcpus: 8, memory_gib: 64, on_demand: 1, spot: 1}\n"
    )
    assert main(["--visits", "10", "--machines", str(file), "--workers", "1", "box", "--head", "box"]) == 0
    assert "1 x box" in capsys.readouterr().out
    file.write_text("note: ours\nbandwidths: []\nmachines:\n  - {name: box, cloud: hpc, vcpus: none, memory_gib: 64}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: machines\.0\.vcpus='none'"):
        main(["--visits", "10", "--machines", str(file)])


@pytest.mark.parametrize(("option", "other"), [("--machines", "unit_costs.yaml"), ("--unit-costs", "machines.yaml")])
def test_another_file_than_was_asked_for_is_refused_in_a_line(option: str, other: str) -> None:
    with pytest.raises(ValueError, match=rf"{other}: \w+: Field required") as refused:
        main(["--visits", "10", option, str(ROOT / "codelib" / "sizing" / other)])
    assert len(str(refused.value)) < 200


def test_stages_of_few_tasks_are_named_where_they_make_the_sum_longer() -> None:
    """1,000 visits are 32 partitions of images: most of 256 vCPUs stand idle, and CPU hours over all of them is not the time."""
    few, many = plan(Clinic(visits=1000))["stages"], plan(Clinic(visits=100_000))["stages"]
    assert "longer where tasks are fewer than vCPUs or uneven: images" in few.how
    assert "images" not in many.how


# the document


def commands() -> list[tuple[str, list[str]]]:
    """Each command of docs/scaling.md that prints a table, and the table that stands under it."""
    lines = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        if line.startswith("    python -m jobs.plan ") and "--table" in line:
            start = next(i for i in range(number, len(lines)) if lines[i].startswith("|"))
            stop = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
            found.append((line.strip(), lines[start:stop]))
    return found


@pytest.mark.parametrize(("command", "shown"), commands(), ids=[command[20:80] for command, _ in commands()])
def test_the_documents_tables_are_what_the_calculator_prints(
    command: str, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command)[3:]) == 0
    assert capsys.readouterr().out.splitlines() == shown


def test_the_document_has_tables() -> None:
    assert len(commands()) >= 3


def test_the_documents_unit_costs_are_the_shipped_ones() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for one in COSTS.stages:
        row = f"| {one.name} | {one.per} | {1000 * one.cpu_s:.3g} |"
        assert row in text, row
    for file in COSTS.files:
        row = f"| {file.name} | {file.file_mb:g} | {1000 * file.cpu_s:.0f} | {1000 * file.screens_cpu_s:.0f} |"
        assert row in text, row
