"""The bench: detectors over data sets, each by its official protocol, from the graphs that ship.

    DataSet ── Case ── one fit, and the recordings it is judged on        cases.py, kinds/
        │
        ▼   recipe of the detector, adapted to the case                   checking.py, recipes.py
    fit -> convert -> bundle                                              shipping.py
        │
        ▼   the device's pipeline, row by row, no look ahead              judging.py
    Judged ── kept in the output folder, under a digest of what made it   keeping.py, digests.py
        │
        ▼
    figures of a file, pooled figures of a data set                       figures.py, falls.py
    results.json, files.json, results.md, results.html                    tables.py, report.py, plots.py

Controls (`controls.py`) stand in every table and published methods (`boards.py`) where asked for: they give row alarms,
which become events by the device's own rule. `contamination.py` makes cases with faults among the rows to fit on.
`running.py` spreads the work over processes; `command.py` is the command.
"""
