"""A clinic's raw export that never was, of any size, with known truth: the demo's input and the yardstick of the tests.

plan (who comes when, what will not fit) ─┬─ records (phrases, notation, diagnoses, people) ─ sheets
                                          └─ visit_folder (drawing, exposure, picture_files)
export runs the plan and writes the truth beside it
"""
