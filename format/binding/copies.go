package binding

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/mmap"
)

// checkCopies holds the copies of weights of the base that PEFT saves with an
// adapted embedding against the base: on loading, PEFT puts them in its place,
// so with another one this would be another model (AD027, AD049).
func checkCopies(a *adapter.Adapter, base *checkpoint.Checkpoint, values bool) error {
	for _, u := range a.Unused {
		if u.CopyOf == "" {
			continue
		}
		shard, t, ok := base.Lookup(u.CopyOf)
		if !ok {
			continue // under another name, or stored in parts: it cannot be compared
		}
		if !slices.Equal(t.Shape, u.Value.Shape) {
			return &rule.Error{File: a.Source, Tensor: u.Tensor, Rule: "AD027", Err: fmt.Errorf("shape %v of a copy of base tensor %q, which has shape %v", u.Value.Shape, u.CopyOf, t.Shape)}
		}
		if !values || !t.DType.Float() || !u.Value.DType.Float() {
			continue
		}
		same := false
		if err := mmap.Guard(func() { same = equal(u.Value.Bytes, u.Value.DType, base.Bytes(shard, t), t.DType) }); err != nil {
			return err
		}
		if !same {
			return &rule.Unsupported{File: a.Source, Rule: "AD049", What: fmt.Sprintf("tensor %q, which is not the base's %q that it would take the place of", u.Tensor, u.CopyOf), Hint: rule.Cure("AD049")}
		}
	}
	return nil
}

// equal reports whether a is b but for a rounding from one of their dtypes to
// the other.
func equal(a []byte, da dtype.DType, b []byte, db dtype.DType) bool {
	if da == db {
		return bytes.Equal(a, b)
	}
	const block = 1 << 14
	wa, wb := da.Bits()/8, db.Bits()/8
	values, rounded := make([]float64, block), make([]byte, 8*block)
	holds := func(x []byte, dx dtype.DType, y []byte, dy dtype.DType) bool { // y is x rounded
		wx, wy := dx.Bits()/8, dy.Bits()/8
		for n := len(x) / wx; n > 0; n = len(x) / wx {
			n = min(n, block)
			dx.Decode64(values[:n], x[:n*wx])
			dy.Encode64(rounded[:n*wy], values[:n])
			if !bytes.Equal(rounded[:n*wy], y[:n*wy]) {
				return false
			}
			x, y = x[n*wx:], y[n*wy:]
		}
		return true
	}
	if len(a)/wa != len(b)/wb {
		return false
	}
	if wa < wb {
		return holds(b, db, a, da)
	}
	return holds(a, da, b, db) || holds(b, db, a, da)
}
