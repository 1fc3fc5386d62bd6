"""Poses of any estimator: conversion, lifting, repair, smoothing, and sampling."""

from bmc_jax.poses.lifting import Landmarks as Landmarks
from bmc_jax.poses.lifting import Lifted as Lifted
from bmc_jax.poses.lifting import lift as lift
