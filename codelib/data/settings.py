"""The settings of `jobs.dataset`: one group for each stage."""

from __future__ import annotations

from pydantic import Field

from codelib.core.config import Settings
from codelib.data.annotate import AnnotateSettings
from codelib.data.card_settings import CardSettings
from codelib.data.deidentify import DeidentifySettings
from codelib.data.figures_charts import FiguresSettings
from codelib.data.image_settings import ImageSettings
from codelib.data.k_anonymity import KAnonymitySettings
from codelib.data.sharegpt import ShareGptSettings
from codelib.data.sheets import Mapping
from codelib.data.split import SplitSettings
from codelib.data.teeth import TeethSettings
from codelib.data.translate import TranslateSettings


class DatasetSettings(Settings):
    """``dataset:`` in a recipe. Without a recipe everything runs offline."""

    seed: int = 0
    partition_visits: int = Field(32, ge=1, le=100_000)  # about 200 images: ten seconds of work, the most a kill can cost
    exclude: str | None = None  # text file: source ids of patients without consent, one a line
    mapping: Mapping = Mapping()
    images: ImageSettings = ImageSettings()
    teeth: TeethSettings = TeethSettings()
    deidentify: DeidentifySettings = DeidentifySettings()
    k_anonymity: KAnonymitySettings = KAnonymitySettings()
    translate: TranslateSettings = TranslateSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    split: SplitSettings = SplitSettings()
    sharegpt: ShareGptSettings = ShareGptSettings()
    figures: FiguresSettings = FiguresSettings()
    card: CardSettings = CardSettings()
