"""Models as the estimators of other libraries."""
