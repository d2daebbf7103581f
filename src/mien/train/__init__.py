"""From a recipe to an adapter: one loop for every objective, and per objective only its maths."""
