"""Complete loops that run with no hardware: the real firmware sources, with a simulated plant behind them."""
