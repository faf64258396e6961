"""Pseudo-masks in the layouts that other programs train on."""
