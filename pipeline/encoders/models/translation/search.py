"""The likeliest text that a network writes: beam search, of which a beam of one is greedy."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.encoders.models.translation.network import TranslationNetwork
from pipeline.encoders.models.translation.pieces import BEGIN, END, PAD, UNKNOWN

_NEVER = (PAD, BEGIN, UNKNOWN)  # what is not written
LENGTH_POWER = 0.6  # alpha of Wu et al. (2016)


def search(network: TranslationNetwork, ids: Tensor, beam: int, length_max: int) -> list[list[int]]:
    """For each row of ``ids`` (n, s) the pieces that were written, without END.

    Of the ``beam`` likeliest beginnings each is continued by every piece, until all of them have
    ended or are ``length_max`` long; the best by ln p / ((5 + length) / 6)^0.6 is taken (Wu et
    al., 2016), or without the power one long answer would lose against many short ones. A row is
    searched on its own: the others decide only how long it waits, ended, for them.
    """
    count = len(ids)
    read = network.read(ids).repeated(beam)
    device, dtype = ids.device, read.states.dtype
    scores = torch.full((count, beam), -torch.inf, device=device, dtype=dtype)
    scores[:, 0] = 0.0  # all beams begin alike: one of them is enough
    written = torch.full((count * beam, 1), BEGIN, device=device)
    ended = torch.zeros(count * beam, dtype=torch.bool, device=device)
    rows = torch.arange(count, device=device).unsqueeze(1) * beam
    for _ in range(length_max):
        logits, read = network.write(written[:, -1:], read)
        steps = _scored(logits[:, 0], ended)
        total = scores.unsqueeze(2) + steps.view(count, beam, -1)
        scores, best = total.flatten(start_dim=1).topk(beam, dim=1)
        pieces = steps.shape[-1]
        origin = (rows + best // pieces).flatten()
        written = torch.cat([written[origin], (best % pieces).view(-1, 1)], dim=1)
        read = read._replace(hidden=read.hidden[:, origin])
        ended = written[:, -1] == END
        if bool(ended.all()):
            break
    texts = written[:, 1:]
    lengths = (texts != END).sum(dim=1).view(count, beam)
    chosen = (scores / ((5 + lengths) / 6) ** LENGTH_POWER).argmax(dim=1)
    found: list[list[int]] = texts.view(count, beam, -1)[rows[:, 0] // beam, chosen].tolist()
    return [[piece for piece in row if piece != END] for row in found]


def _scored(logits: Tensor, ended: Tensor) -> Tensor:
    """ln p of each piece (n, pieces); what has ended goes on with END alone, at no cost."""
    logits = logits.index_fill(1, torch.tensor(_NEVER, device=logits.device), -torch.inf)
    steps = logits.log_softmax(dim=-1)
    steps[ended] = -torch.inf
    steps[ended, END] = 0.0
    return steps
