r"""The report's tables for a paper: one file a table, booktabs, to be taken in with \input.

    report dictionary  ->  tables(report)  ->  {"table-classification.tex": "…\begin{tabular}…", …}

What a file needs stands in its first lines. Names and texts are escaped; a table that is longer than a page is a longtable. The paper's own
figures are in a file of their own, so that nobody takes them for results of the run.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codelib.evaluate.page_comparisons import order
from codelib.evaluate.variants import CLASSIFICATION, GENERATION

Report = dict[str, Any]
_LONG = 45  # rows that fit on a page
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # a cell that begins with [ would be an option of the \\ before it
    "]": "{]}",
    "*": "{*}",  # and one with a star its variant
    "-": "{-}",  # -- would become a dash, ?` a turned mark
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "°": r"\textdegree{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "·": r"\textperiodcentered{}",
    "→": r"$\rightarrow$",
}
_MISSING = "--"


def escape(text: str) -> str:
    """Text as LaTeX prints it. Control characters become blanks; letters of other scripts stay, for XeLaTeX and LuaLaTeX."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") else c for c in text)
    return "".join(_SPECIAL.get(character, character) for character in " ".join(clean.split()))


def _percent(value: float | None, digits: int = 1) -> str:
    return _MISSING if value is None else f"{100 * value:.{digits}f}".replace("-", "$-$")


def _between(scores: Report, name: str) -> str:
    pair = scores.get(f"{name}_ci")
    return f" {{\\scriptsize {{[}}{_percent(pair[0])}, {_percent(pair[1])}{{]}}}}" if pair else ""


def _share(scores: Report, name: str) -> str:
    return _percent(scores.get(name)) + (_between(scores, name) if scores.get(name) is not None else "")


def _whole(value: Any) -> str:
    return _MISSING if value is None else str(value)


@dataclass(frozen=True)
class _Table:
    """Cells are LaTeX already. A row of one cell is a heading over all columns; None is a rule."""

    caption: str
    columns: str  # as in \begin{tabular}{…}
    head: Sequence[str]
    rows: Sequence[Sequence[str] | None]

    def text(self) -> str:
        lines = []
        for cells in self.rows:
            if cells is None:
                lines.append(r"\midrule")
            elif len(cells) == 1:
                lines.append(rf"\multicolumn{{{len(self.head)}}}{{l}}{{\itshape {cells[0]}}} \\")
            else:
                assert len(cells) == len(self.head), self.caption
                lines.append(" & ".join(cells) + r" \\")
        long = len(lines) > _LONG
        kind = "longtable" if long else "tabular"
        needs = r"% needs \usepackage{booktabs}, \usepackage{textcomp}, \usepackage[T1]{fontenc}" + (
            r", \usepackage{longtable}" if long else ""
        )
        body = [
            r"\toprule",
            " & ".join(self.head) + r" \\",
            r"\midrule",
            *([r"\endhead"] if long else []),
            *lines,
            r"\bottomrule",
        ]
        said = [f"% {self.caption}", needs]
        if not "".join(body).isascii():
            said.append("% holds letters beyond ASCII: XeLaTeX or LuaLaTeX with a font that has them")
        return "\n".join([*said, f"\\begin{{{kind}}}{{{self.columns}}}", *body, f"\\end{{{kind}}}", ""])


def _classification(report: Report) -> _Table | None:
    names = ("accuracy", "precision", "recall", "f1", "macro_f1")
    rows: list[Sequence[str] | None] = []
    for variant in report["variants"]:
        if scores := variant.get(CLASSIFICATION):
            rows.append([escape(variant["name"]), *(_share(scores, name) for name in names), _whole(scores.get("n"))])
            if likely := scores.get("constrained"):
                rows.append([r"\quad by class likelihood", *(_share(likely, name) for name in names), _whole(likely.get("n"))])
    if not rows:
        return None
    rows.append(None)
    for found in report["baselines"].get(CLASSIFICATION) or ():
        rows.append([escape(found["name"]), *(_share(found, name) for name in names), _whole(found.get("n"))])
    head = ("Model", r"Accuracy \%", r"Precision \%", r"Recall \%", r"F1 \%", r"Macro F1 \%", "$n$")
    return _Table("Classification, this run; 95 % intervals in brackets; baselines below the rule", "lrrrrrr", head, rows)


def _paper(report: Report) -> _Table | None:
    names = ("accuracy", "precision", "recall", "f1")
    rows = [[escape(found["name"]), *(_percent(found[name], 2) for name in names)] for found in report.get("paper_table_3") or ()]
    head = ("Model", r"Accuracy \%", r"Precision \%", r"Recall \%", r"F1 \%")
    return (
        _Table("Copied from arXiv 2511.04948, Table 3: other data, NOT results of this run", "lrrrr", head, rows)
        if rows
        else None
    )


def _per_class(report: Report) -> _Table | None:
    rows: list[Sequence[str] | None] = []
    for variant in report["variants"]:
        classes = (variant.get(CLASSIFICATION) or {}).get("per_class") or ()
        rows += ([None] if rows and classes else []) + ([[escape(variant["name"])]] if classes else [])
        shares = ("precision", "recall", "f1")
        rows += [[escape(c["name"]), *(_percent(c.get(name)) for name in shares), _whole(c.get("support"))] for c in classes]
    head = ("Class", r"Precision \%", r"Recall \%", r"F1 \%", "Support")
    return _Table("Scores of each class, this run", "lrrrr", head, rows) if rows else None


def _generation(report: Report) -> _Table | None:
    metrics = ("bleu", "meteor", "cosine")

    def line(name: str, scores: Report) -> list[str]:
        corpus = scores.get("corpus_bleu")
        written = _MISSING if corpus is None else f"{corpus:.1f}"
        covered = _share(scores.get("sections") or {}, "coverage")
        checks = scores.get("clinical") or {}
        clinical = (_percent(checks.get(f1)) for f1 in ("tooth_f1", "diagnosis_f1"))
        return [
            escape(name),
            written,
            *(_share(scores, metric) for metric in metrics),
            covered,
            *clinical,
            _whole(scores.get("n")),
        ]

    rows: list[Sequence[str] | None] = [line(v["name"], v[GENERATION]) for v in report["variants"] if v.get(GENERATION)]
    if not rows:
        return None
    rows += [None, *(line(found["name"], found) for found in report["baselines"].get(GENERATION) or ())]
    head = ("Model", "Corpus BLEU", "BLEU", "METEOR", "Cosine", r"Sections \%", r"Tooth F1 \%", r"Diagnosis F1 \%", "$n$")
    return _Table("Report generation, this run; 95 % intervals in brackets; baselines below the rule", "lrrrrrrrr", head, rows)


def _spectrum(report: Report) -> _Table | None:
    names = ("micro_precision", "micro_recall", "micro_f1", "macro_f1")
    rows = [
        [escape(v["name"]), *(_share(v["spectrum"], name) for name in names), _whole(v["spectrum"].get("n"))]
        for v in report["variants"]
        if v.get("spectrum")
    ]
    head = ("Model", r"Micro precision \%", r"Micro recall \%", r"Micro F1 \%", r"Macro F1 \%", "$n$")
    return _Table("All conditions of a visit, this run", "lrrrrr", head, rows) if rows else None


def _paired(report: Report) -> _Table | None:
    rows = []
    for found in sorted(report.get("paired") or (), key=lambda f: (f["benchmark"], f["metric"], *order(f))):
        what = escape(f"{found['benchmark']}, {found['metric'].replace('_', ' ')}")
        difference = f"{100 * found['difference']:+.1f}".replace("-", "$-$").replace("+", "$+$") + _between(found, "difference")
        p = [
            "$<$0.001" if value is not None and value < 0.001 else (_MISSING if value is None else f"{value:.3f}")
            for value in (found.get("p"), found.get("p_holm"))
        ]
        rows.append([what, escape(found["a"]), escape(found["b"]), difference, *p, "yes" if found.get("significant") else "no"])
    head = ("Metric", "Model", "against", "Difference, points", "$p$", "$p$ (Holm)", "Significant")
    return _Table("Paired tests, this run: the first model less the second", "lllrrrl", head, rows) if rows else None


_MAKERS = {
    "classification": _classification,
    "per-class": _per_class,
    "generation": _generation,
    "spectrum": _spectrum,
    "differences": _paired,
    "paper": _paper,
}


def tables(report: Report) -> dict[str, str]:
    """File name -> text, for each table that the report has figures for."""
    made = {name: make(report) for name, make in _MAKERS.items()}
    return {f"table-{name}.tex": found.text() for name, found in made.items() if found}
