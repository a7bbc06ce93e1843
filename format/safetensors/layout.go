package safetensors

import (
	"cmp"
	"slices"
)

// layout sorts the tensors by their bytes and checks that they cover the data
// section from its first byte to its last, each byte once.
func (p *parser) layout() error {
	ts := p.h.tensors
	byOffset := func(a, b Tensor) int {
		if c := cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End)); c != 0 {
			return c
		}
		return cmp.Compare(a.Name, b.Name) // empty tensors in one place
	}
	if !slices.IsSortedFunc(ts, byOffset) {
		slices.SortFunc(ts, byOffset)
		p.h.names.grow(len(ts), ts)
	}
	end, aligned := int64(0), true
	for i, t := range ts {
		var err error
		switch {
		case t.Begin > end:
			err = p.broken("ST017", t.Name, "hole of %d bytes before it, at data offset %d", t.Begin-end, end)
		case t.Begin < end:
			err = p.broken("ST018", t.Name, "bytes [%d,%d) overlap tensor %s, which ends at %d", t.Begin, t.End, short(ts[i-1].Name), end)
		}
		if err != nil {
			return err
		}
		end = max(end, t.End)
		if size := int64(t.DType.Bits()) / 8; aligned && size > 1 && (t.Begin+p.h.DataStart())%size != 0 {
			aligned = false
			p.warn("ST029", t.Name, "begins at byte %d of the file, not a multiple of %d", t.Begin+p.h.DataStart(), size)
		}
	}
	return p.fileEnd(end)
}

// fileEnd compares the end of the last tensor with the end of the file.
func (p *parser) fileEnd(end int64) error {
	if p.fileSize < 0 {
		return nil
	}
	switch have := p.fileSize - p.h.DataStart(); {
	case have < end:
		return p.broken("ST016", "", "file is %d bytes too short: %d of %d tensor bytes are there", end-have, have, end)
	case have > end:
		return p.broken("ST020", "", "%d bytes after the last tensor, which ends at byte %d", have-end, end+p.h.DataStart())
	}
	return nil
}
