"""Explanations of scheduling decisions: pure, from the planner's own facts."""
