"""The rules file: read (`file`), checked (`check`), evaluated (`engine`), with money and staffing. No I/O, no clock."""
