"""What the rounds of several contenders came to, and how they take turns."""
import statistics
from dataclasses import dataclass, field

from servers import ServerError


@dataclass
class Result:
    """All rounds of one contender. None stands for a round that failed."""

    name: str
    rounds: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    @property
    def good(self):
        return [r for r in self.rounds if r]

    def median(self, what):
        if what == "user_share":
            # Some 250 ticks a second divide the time into user and system: too few for one round to say much.
            user, system = (sum(getattr(r, f) for r in self.good) for f in ("user_s", "system_s"))
            return user / max(user + system, 1e-9)
        if what == "user_us":
            return self.median("cpu_us") * self.median("user_share")
        return statistics.median(getattr(r, what) for r in self.good)

    def errors(self):
        return sum(r.errors for r in self.good) + len(self.failures)

    def ratio(self, base, what):
        below = base.median(what)
        return self.median(what) / below if below else float("nan")

    def ratio_spread(self, base, what):
        """Least and greatest ratio to BASE within a round, where both met the same machine."""
        pairs = [(getattr(a, what), getattr(b, what)) for a, b in zip(self.rounds, base.rounds) if a and b]
        ratios = [a / b for a, b in pairs if b]
        return (min(ratios), max(ratios)) if ratios else (float("nan"), float("nan"))


def interleaved(contenders, rounds, say, measure):
    """Measures CONTENDERS in turn, A B C A B C ..., every round begun by another one, so that neither a drift of the
    machine nor a place in the order favours anyone. MEASURE(contender) returns what a round has brought, which says
    itself what to SAY of it. Returns a Result for each, by name."""
    results = {c.name: Result(c.name) for c in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            result = results[contender.name]
            try:
                done = measure(contender)
                result.rounds.append(done)
                say(f"  round {number + 1}: {contender.name:12} {done.said()}")
            except (ServerError, TimeoutError) as error:
                result.rounds.append(None)
                result.failures.append(str(error))
                say(f"  round {number + 1}: {error}")
    return results
