"""What the tools that look at data, models and features do."""
