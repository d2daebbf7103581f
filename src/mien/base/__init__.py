"""The base model: fetched once, loaded once, frozen, with every persona as an adapter on top of it."""
