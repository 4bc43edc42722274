"""This machine itself, without SSH."""

local = ["@local"]
