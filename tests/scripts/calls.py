# Which calls of a library were made. It is put before the scripts that drive one.


class Watched:
    """Passes everything on to a client, and notes what was asked of it."""

    def __init__(self, client):
        self.__dict__.update(client=client, used=set())

    def __getattr__(self, name):
        self.used.add(name)
        return getattr(self.client, name)

    def __setattr__(self, name, value):
        self.used.add(name)
        setattr(self.client, name, value)


def all_calls_were_made(kind, used, explained):
    """Fails if a public name of a class was neither used nor explained, or is explained and used.

    Several names for one function are one call.
    """
    calls = {}
    for name in dir(kind):
        if not name.startswith("_"):
            calls.setdefault(id(getattr(kind, name)), set()).add(name)
    names = set().union(*calls.values())
    unknown = explained.keys() - names
    assert not unknown, f"the library has no {sorted(unknown)}"
    missing = [sorted(call) for call in calls.values() if not call & (used | explained.keys())]
    assert not missing, f"neither called nor explained: {missing}"
    both = [sorted(call) for call in calls.values() if call & used and call & explained.keys()]
    assert not both, f"called: take them off the list: {both}"
