"""The demo: a simulated platform on which two things go wrong, real servers, the worker, and what it says in time."""
