"""Every number of the paper, one folder a phase. (gin 0.5 on Python 3.12 can only
include files from folders that are packages, hence an `__init__.py` in each.)"""
