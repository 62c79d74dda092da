"""jobs.release as a reader of a data set runs it: a whole copy passes, and each kind of damage is found and named."""

import csv
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCardData
from PIL import Image

from codelib.data.verify import verify
from codelib.data.verify_describe import front_matter
from codelib.data.verify_files import metadata_of
from codelib.synthetic.export import generate
from tests import here
from tests.jobs import run

PHONE = "电话13812345678"
CARD = """
dataset:
  card:
    authors: [{given_names: Ada, family_names: O'Beispiel}]
    contact: ada.obeispiel@example.org
    ethics: Board of a hospital, approval 110105199003078811
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory, cluster) -> Path:
    folder = tmp_path_factory.mktemp("release")
    generate(folder / "clinic", visits=40, seed=3)
    (folder / "r.yaml").write_text(CARD, encoding="utf-8")
    off = ("--set", "images.screens={text: 'off', faces: 'off', documents: 'off'}")  # they have tests of their own
    given = ("--input", folder / "clinic", "--workspace", folder / "work", *off)
    here.run("dataset", *given, "--recipe", folder / "r.yaml")
    said = here.run("dataset", *given, code=2)  # the next build does not take back what a person stated
    assert 'card.contact: "ada.obeispiel@example.org" -> null' in said
    return folder / "work" / "release"


@pytest.fixture
def copy(release, tmp_path) -> Path:
    return Path(shutil.copytree(release, tmp_path / "copy"))


def resum(folder: Path) -> None:
    """As one would who wants a change not to be seen."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = (f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files)
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def edit_csv(folder: Path, change) -> None:
    path = folder / "complete-dataset.csv"
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    change(rows[0], rows[1:])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8")


def an_image(folder: Path) -> Path:
    return min((folder / "Images").rglob("*.jpg"))


def test_a_release_passes_and_is_packed_twice_into_the_same_bytes(release, tmp_path):
    said = run("release", "--verify", release, "--num-cpus", "2", "--zip", tmp_path / "a.zip")
    assert "all checks passed" in said
    run("release", "--verify", release, "--num-cpus", "1", "--zip", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "out")
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert verify(tmp_path / "out" / "dataset", 1).passed


def test_the_card_is_one_that_the_hub_reads(release):
    front = front_matter((release / "README.md").read_text(encoding="utf-8"))
    data = DatasetCardData(**front)
    assert data.license == "other"
    assert front["license_name"]
    assert "- Ada O'Beispiel" in (release / "README.md").read_text(encoding="utf-8")
    assert "Forbidden" in (release / "README.md").read_text(encoding="utf-8")


def test_croissant_is_valid_and_reads_the_table(release):
    described = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))  # raises ValidationError
    assert not described.metadata.ctx.issues.errors
    with open(release / "complete-dataset.csv", encoding="utf-8", newline="") as file:
        assert sum(1 for _ in described.records("checkups")) == sum(1 for _ in csv.DictReader(file))


def lose(folder):
    an_image(folder).unlink()


def add(folder):
    (folder / "notes.txt").write_text("hello")


def change(folder):
    path = folder / "test-cls.json"
    path.write_bytes(path.read_bytes().replace(b"Caries", b"Pulpitis"))


def unfinished(folder):
    (folder / "INCOMPLETE").write_text("")


def metadata(folder):
    path = an_image(folder)
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xfe\x00\x06name" + content[2:])
    resum(folder)


def too_large(folder):
    Image.new("RGB", (900, 20)).save(an_image(folder), quality=90)
    resum(folder)


def unreferenced(folder):
    shutil.copy(an_image(folder), folder / "Images" / "Photographs" / "9999-001-01.jpg")
    resum(folder)


def phone_in_csv(folder):
    edit_csv(folder, lambda header, rows: rows[0].__setitem__(header.index("remarks_cn"), PHONE))
    resum(folder)


def phone_in_json(folder):
    path = folder / "train.json"
    path.write_text(path.read_text(encoding="utf-8").replace("Age: ", f"{PHONE} Age: ", 1), encoding="utf-8")
    resum(folder)


def name_of_file(folder):
    (folder / "Images" / f"{PHONE}.jpg").write_bytes(an_image(folder).read_bytes())
    resum(folder)


def ledger(folder):
    path = folder / "ledger.csv"
    path.write_text(path.read_text().replace("visit,released,,", "visit,released,,1"))
    resum(folder)


def shard_row(folder):
    path = min(folder.glob("parquet/generation/train-*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    resum(folder)


def two_sides(folder):
    def move(header, rows):
        side, patient = header.index("split"), header.index("patient_id")
        first = next(row for row in rows if row[side] == "test")
        other = next(row for row in rows if row[side] == "train")
        for name in ("checkup_id", "patient_id"):
            place = header.index(name)
            other[place] = first[place].rsplit("-", 1)[0] + "-777" if name == "checkup_id" else first[patient]

    edit_csv(folder, move)
    resum(folder)


def spectrum_of_a_patient(folder):
    def move(header, rows):
        side, patient = header.index("spectrum"), header.index("patient_id")
        visits = [row for row in rows if row[side] in ("train", "test")]
        twice = next(a for a in visits if any(b is not a and b[patient] == a[patient] for b in visits))
        twice[side] = "train" if twice[side] == "test" else "test"

    edit_csv(folder, move)
    resum(folder)


def conditions_of_a_shard(folder):
    path = min(folder.glob("parquet/generation/train-*.parquet"))
    table = pq.read_table(path)
    place = table.schema.get_field_index("conditions")
    others = pa.array([["Sound"]] * table.num_rows, table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), others), path)
    resum(folder)


def citation(folder):
    (folder / "CITATION.cff").write_text("[")
    resum(folder)


@pytest.mark.parametrize(
    ("damage", "check", "words"),
    [
        (lose, "files", ".jpg: is missing; fetch it again"),
        (add, "files", "notes.txt: is not in SHA256SUMS; remove it"),
        (change, "files", "test-cls.json: its content is not the one"),
        (change, "samples", "test-cls.json sample"),
        (unfinished, "finished", "the build did not end"),
        (metadata, "images", ".jpg: holds metadata (a comment)"),
        (too_large, "images", "900 x 20 px, more than the declared 448 px"),
        (unreferenced, "references", "9999-001-01.jpg: no table names it"),
        (phone_in_csv, "identifiers", "row 1, column remarks_cn: has the form of an identifier (PHONE)"),
        (phone_in_json, "identifiers", "train.json sample"),
        (name_of_file, "names", "withheld"),
        (ledger, "counts", "ledger.csv: does not count"),
        (shard_row, "samples", "rows in its shards"),
        (two_sides, "split", "stands in"),
        (spectrum_of_a_patient, "split", "by spectrum"),
        (conditions_of_a_shard, "split", "spectrum or conditions of a visit are others in complete-dataset.csv"),
        (citation, "description", "CITATION.cff: is missing or cannot be read"),
    ],
)
def test_damage_is_found_and_named_and_no_value_of_it(copy, damage, check, words):
    damage(copy)
    report = verify(copy, 1)
    assert any(words in sentence for sentence in report.told.get(check, [])), report.table()
    assert "13812345678" not in report.table()


def test_exit_codes_and_nothing_unverified_leaves(copy, tmp_path):
    said = here.run("release", "--verify", tmp_path, code=2)
    assert "SHA256SUMS" in said
    assert "HF_TOKEN" in here.run("release", "--verify", copy, "--upload", "owner/name", code=2, HF_TOKEN="")
    assert "inside the release" in here.run("release", "--verify", copy, "--zip", copy / "a.zip", code=2)
    lose(copy)
    said = run("release", "--verify", copy, "--num-cpus", "1", "--zip", tmp_path / "a.zip", code=1)
    assert json.loads((copy / "manifest.json").read_text())["num_images"] > 0
    assert "do not share" in said
    assert not (tmp_path / "a.zip").exists()


def test_a_picture_holds_nothing_behind_its_end_and_no_other_format():
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", progressive=True)
    assert metadata_of(out.getvalue()) is None
    assert metadata_of(out.getvalue() + b"x") == "holds data behind its end"
    assert metadata_of(out.getvalue()[:-2]) == "is truncated"
    assert metadata_of(b"\x89PNG") == "is not a JPEG file"
