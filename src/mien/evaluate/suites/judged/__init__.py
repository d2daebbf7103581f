"""The judged suite: what a model as a judge makes of the replies."""
