"""The Big Five: questionnaires, scenes and contrasted continuations, behind a gate of reliability."""
