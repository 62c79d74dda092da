"""codelib: from a dental clinic's raw export to a de-identified, bilingual, benchmarked dataset and a fine-tuned vision-language model."""

__version__ = "0.1.0"
