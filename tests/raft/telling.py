"""What a core did, in words short enough to be read by the hundred.

A position of the log is `index/term`, an entry `index/term:content`; a membership reads
`{a,b,c}`, or `{a,b,c +d}` where `d` is a learner, and the entry with which a leader begins `-`.
"""

from roheletd.raft import (
    EVERYBODY,
    Configuration,
    Entry,
    Kind,
    Message,
    NodeId,
    Raft,
    Ready,
    Save,
    Snapshot,
)
from roheletd.raft.values import (
    Append,
    AppendResponse,
    SnapshotChunk,
    SnapshotRequest,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
    decode_configuration,
)


def configuration(found: Configuration) -> str:
    learners = f" +{','.join(found.learners)}" if found.learners else ""
    return f"{{{','.join(found.voters)}{learners}}}"


def entry(found: Entry) -> str:
    content = found.data.decode(errors="replace") or "-"
    if found.kind is Kind.CONFIGURATION:
        content = configuration(decode_configuration(found.data))
    return f"{found.index}/{found.term}:{content}"


def entries(found: tuple[Entry, ...]) -> str:
    return " ".join(map(entry, found))


def snapshot(found: Snapshot) -> str:
    holds = configuration(found.configuration)
    return f"snapshot {found.index}/{found.term} {holds} '{found.data.decode()}'"


def message(sent: Message) -> str:
    to = "all" if sent.to == EVERYBODY else sent.to
    return f"{sent.sender}->{to} {content(sent)}"


def content(sent: Message) -> str:
    match sent:
        case VoteRequest():
            return vote_request(sent)
        case VoteResponse():
            question = "pre-vote" if sent.pre else "vote"
            return f"{question} {'granted' if sent.granted else 'refused'}, term {sent.term}"
        case Append():
            return append(sent)
        case AppendResponse(refused=None):
            return f"has all up to {sent.index}, term {sent.term}"
        case AppendResponse():
            return f"misses {sent.refused}, try {sent.index}, term {sent.term}"
        case SnapshotChunk():
            end = sent.offset + len(sent.data)
            of = f"{sent.index}/{sent.snapshot_term}"
            return f"chunk of {of}, {sent.offset} to {end} of {sent.size}, term {sent.term}"
        case SnapshotRequest():
            return f"wants chunk of {sent.index} from {sent.offset}, term {sent.term}"
        case TimeoutNow():
            return f"lead now, term {sent.term}"
    raise AssertionError(sent)


def vote_request(sent: VoteRequest) -> str:
    question = "pre-vote" if sent.pre else "vote"
    handover = ", as I asked to" if sent.handover else ""
    return f"{question}? term {sent.term}, last {sent.last_index}/{sent.last_term}{handover}"


def append(sent: Append) -> str:
    news = f" [{entries(sent.entries)}]" if sent.entries else ""
    after = f"{sent.prev_index}/{sent.prev_term}"
    return f"append after {after}{news}, commit {sent.commit}, term {sent.term}"


def save(found: Save) -> str:
    words = [f"term {found.term} vote {found.vote or '-'} commit {found.commit}"]
    if found.reset:
        words.append("nothing but")
    if found.snapshot is not None:
        words.append(f"{snapshot(found.snapshot)}, keeps from {found.keep_from}")
    if found.entries:
        words.append(f"[{entries(found.entries)}]")
    return ", ".join(words)


def ready(node: NodeId, found: Ready) -> list[str]:
    """One line each for what is saved, every message sent, what is restored and applied."""
    lines = []
    if found.to_save is not None:
        lines.append(f"{node} saves {save(found.to_save)}")
    lines += [message(sent) for sent in found.to_send]
    if found.to_restore is not None:
        lines.append(f"{node} restores {snapshot(found.to_restore)}")
    if found.to_apply:
        lines.append(f"{node} applies {entries(found.to_apply)}")
    return lines


def rank(node: Raft) -> str:
    """Role and term; of a follower, also whose."""
    of = f" of {node.leader}" if node.role == "follower" and node.leader else ""
    return f"{node.role} in term {node.term}{of}"


def standing(node: Raft) -> str:
    """The rank; of a leader, also how much of its log the others have."""
    others = (f"{name}:{match}" for name, (match, _) in sorted(node.progress().items()))
    return f"{rank(node)} ({' '.join(others)})" if node.role == "leader" else rank(node)


def log(node: Raft) -> str:
    kept = node._journal.log
    held = entries(kept.between(kept.base_index + 1, kept.last_index)) or "nothing"
    below = f"snapshot {kept.snapshot.index}/{kept.snapshot.term}, " if kept.snapshot else ""
    return f"log {below}{held}; commit {node.commit}"
