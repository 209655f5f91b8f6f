"""A kind of study beside those that come with lorebridge: a model of two languages at once, and one that is given."""
