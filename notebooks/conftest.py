"""What nbval does not compare: pictures and players differ by machine, their numbers do not."""


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # nbval's notebook files only
        collector.skip_compare += ("text/html", "image/svg+xml", "stderr")
