package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/loratool/loratool/train/internal/data"
)

// A Cut says what was done to samples before training.
type Cut struct {
	Samples   int `json:"samples"`
	Shortened int `json:"shortened,omitempty"` // longer than MaxLen
	Dropped   int `json:"dropped,omitempty"`   // nothing to learn in them
}

// fit returns the samples as they are trained on: cut to at most most tokens,
// those without anything to learn left out. Their tokens must be below vocab.
func fit(s Source, most, vocab int) (data.Sequences, Cut, error) {
	var kept data.Sequences
	c := Cut{Samples: s.Len()}
	for i := range s.Len() {
		q := s.At(i)
		if len(q.Learn) != len(q.Tokens) {
			return nil, c, fmt.Errorf("sample %d has %d tokens and a mask of %d", i+1, len(q.Tokens), len(q.Learn))
		}
		if len(q.Tokens) > most {
			c.Shortened++
			q.Tokens, q.Learn = q.Tokens[:most], q.Learn[:most]
		}
		for _, id := range q.Tokens {
			if id < 0 || int(id) >= vocab {
				return nil, c, fmt.Errorf("sample %d has token %d, the base has a vocabulary of %d", i+1, id, vocab)
			}
		}
		if q.Targets() == 0 {
			c.Dropped++
			continue
		}
		kept = append(kept, q)
	}
	switch {
	case c.Samples == 0:
		return nil, c, fmt.Errorf("no samples to learn from")
	case len(kept) == 0:
		return nil, c, fmt.Errorf("nothing to learn in %d samples within %d tokens", c.Samples, most)
	}
	return kept, c, nil
}

// digest identifies samples.
func digest(s data.Sequences) string {
	h := sha256.New()
	var buf []byte
	for _, q := range s {
		buf = binary.LittleEndian.AppendUint32(buf[:0], uint32(len(q.Tokens)))
		for i, t := range q.Tokens {
			learn := byte(0)
			if q.Learn[i] {
				learn = 1
			}
			buf = append(binary.LittleEndian.AppendUint32(buf, uint32(t)), learn)
		}
		h.Write(buf)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// batch lays out a group of samples.
func batch(s data.Sequences, group []int) *data.Batch {
	list := make([]data.Sequence, len(group))
	for i, n := range group {
		list[i] = s[n]
	}
	return data.NewBatch(list...)
}
