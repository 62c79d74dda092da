"""The curves of a run as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields

from codelib.train.checkpoints import Curve


def as_csv(curve: Sequence[Curve]) -> bytes:
    """A line for every step; empty where nothing was measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Curve)])
    writer.writerows([["" if value is None else value for value in asdict(line).values()] for line in curve])
    return text.getvalue().encode()


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential mean, corrected for its beginning. [1, 1, 1] -> [1, 1, 1]"""
    mean, seen, out = 0.0, 0.0, []
    for value in values:
        mean, seen = weight * mean + (1 - weight) * value, weight * seen + (1 - weight)
        out.append(mean / seen)
    return out


def as_png(curve: Sequence[Curve], best_step: int) -> bytes:
    """Loss of every step and its mean, validation, and the learning rate below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    steps, losses = [line.step for line in curve], [line.loss for line in curve]
    upper.plot(steps, losses, color="#9db8d2", linewidth=0.8, label="training loss")
    upper.plot(steps, smoothed(losses), color="#1f5a94", linewidth=1.6, label="training loss, smoothed")
    judged = [line for line in curve if line.validation_loss is not None]
    if judged:
        upper.plot([j.step for j in judged], [j.validation_loss for j in judged], "o-", color="#c4562a", label="validation loss")
    answered = [line for line in curve if line.validation_accuracy is not None]
    if answered:
        right = upper.twinx()
        right.plot(
            [a.step for a in answered], [a.validation_accuracy for a in answered], "s--", color="#4c8c4a", label="answers right"
        )
        right.set_ylim(0, 1)
        right.set_ylabel("share of validation answers right")
    upper.axvline(best_step, color="#888888", linewidth=0.8, linestyle=":", label=f"best: step {best_step}")
    upper.set_ylabel("nats per answer token")
    upper.legend(frameon=False, fontsize=8)
    lower.plot(steps, [line.learning_rate for line in curve], color="#555555", linewidth=1)
    lower.set_ylabel("learning rate")
    lower.set_xlabel("optimiser step")
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
