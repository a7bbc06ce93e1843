package merge

import "github.com/loratool/loratool/format/record"

// A side is a run of bytes beside a chunk of the output, or the chunk itself,
// whose pieces are summed up as the chunk is made: what was just read or
// written is still in a cache nearby.
type side struct {
	data []byte
	sums []record.Sum // of its pieces, to be filled
	done int
	sum  record.Summer // of the piece in work
}

// advance sums up the bytes before offset to.
func (s *side) advance(to int) {
	to = min(to, len(s.data))
	for s.done < to {
		end := min(to, (s.done/record.PieceBytes+1)*record.PieceBytes)
		s.sum.Add(s.data[s.done:end])
		s.done = end
		if end%record.PieceBytes == 0 || end == len(s.data) {
			s.sums[(end-1)/record.PieceBytes] = s.sum.Sum()
			s.sum = record.Summer{}
		}
	}
}

// made tells the sides of the chunk in work that it is complete up to an
// offset.
func (k *worker) made(to int) {
	for i := range k.sides {
		k.sides[i].advance(to)
	}
}

// follow lets the computers tell the sides of the rows they finish, which are
// those from an offset on. The rows may not change afterwards.
func (k *worker) follow(at int) {
	if len(k.sides) == 0 {
		return
	}
	finished := func(n int) {
		at += n
		k.made(at)
	}
	k.c32.finished, k.c64.finished = finished, finished
}

// unfollow ends that, for rows that are not the chunk's.
func (k *worker) unfollow() { k.c32.finished, k.c64.finished = nil, nil }
