"""The rules: one function per thing that can happen, one setter for a status. No HTTP."""
