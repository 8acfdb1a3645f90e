"""The bench on folders of images: what `bench/` does with recordings, in the same order.

    ImageSet ── a folder and its digest                                   data.py
        │
        ▼   recipe of the detector, with the seed of the bench            entrants.py
    fit -> convert -> bundle                                              shipping.py
        │
        ▼   each of its graphs over the test images, by the device's scorer    judging.py, outcome.py
    Outcome ── kept in the output folder, under a digest of what made it  running.py
        │
        ▼
    figures of a graph on a folder                                        tables.py
    results.json, files.json, results.md, results.html                    report.py, plots.py

Controls (`controls.py`) stand in every table; `command.py` is the command.
"""
