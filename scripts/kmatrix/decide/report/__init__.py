"""The report: a static site about the results of a profile, and its machine-readable neighbours.

A module makes the text of one kind of page or file from plain values; it reads nothing, and equal values give equal
bytes. `stages/report.py` collects the values and writes the site.
"""
