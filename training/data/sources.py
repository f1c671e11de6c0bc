"""All recorded speech that training and evaluation use."""

from __future__ import annotations

from training.data.packages import PACKAGES
from training.data.repositories import REPOSITORIES

SOURCES = (*PACKAGES, *REPOSITORIES)
