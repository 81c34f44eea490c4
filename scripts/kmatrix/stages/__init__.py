"""Stages: discover, render, build, verify, push, each made of decisions and effects."""
