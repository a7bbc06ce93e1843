package safetensors

import (
	"bytes"
	"errors"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/testdata/hostile"
	nlp "github.com/nlpodyssey/safetensors"
)

// FuzzHeader holds the reader against itself (what it accepts covers the file,
// edits to the same tensors) and against nlpodyssey/safetensors (where both
// accept a file, they read the same).
func FuzzHeader(f *testing.F) {
	for _, c := range hostile.Cases() {
		if c.Make == nil && len(c.Bytes) < 4096 {
			f.Add(c.Bytes)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := ReadHeader(bytes.NewReader(file), int64(len(file)), "f")
		if err != nil {
			e, ok := errors.AsType[*rule.Error](err)
			if _, known := rule.Lookup(idOf(e)); !(ok && known) && !errors.Is(err, rule.ErrUnsupported) {
				t.Fatalf("no rule: %v", err)
			}
			return
		}
		covers(t, h, file)
		agrees(t, h, file)
		edits(t, h)
	})
}

func idOf(e *rule.Error) rule.ID {
	if e == nil {
		return ""
	}
	return e.Rule
}

// covers checks that the tensors own every byte behind the header once.
func covers(t *testing.T, h *Header, file []byte) {
	at := int64(0)
	for _, x := range h.Tensors() {
		if x.Begin != at || x.End < x.Begin || int64(x.Elements())*int64(x.DType.Bits()) != 8*(x.End-x.Begin) {
			t.Fatalf("%+v, expected at %d", x, at)
		}
		if y, ok := h.Lookup(x.Name); !ok || y.Begin != x.Begin || y.End != x.End {
			t.Fatalf("%q looks up as %+v", x.Name, y)
		}
		at = x.End
	}
	if at+h.DataStart() != int64(len(file)) {
		t.Fatalf("tensors end at %d of %d", at+h.DataStart(), len(file))
	}
}

// agrees compares with the library, where that accepts the file too.
func agrees(t *testing.T, h *Header, file []byte) {
	st, err := nlp.Deserialize(file)
	if err != nil {
		return
	}
	if st.Len() != len(h.Tensors()) {
		t.Fatalf("the library reads %d tensors, we %d", st.Len(), len(h.Tensors()))
	}
	for _, x := range h.Tensors() {
		v, ok := st.Tensor(x.Name)
		if !ok || nlpTypes[x.DType] != v.DType() || len(v.Shape()) != len(x.Shape) || !bytes.Equal(v.Data(), file[h.DataStart()+x.Begin:h.DataStart()+x.End]) {
			t.Fatalf("%q: the library reads %+v", x.Name, v)
		}
		for i, n := range v.Shape() {
			if n != uint64(x.Shape[i]) {
				t.Fatalf("%q: the library reads shape %v", x.Name, v.Shape())
			}
		}
	}
}

// edits widens tensors, appends one and removes all.
func edits(t *testing.T, h *Header) {
	wide := func(d dtype.DType) func(Tensor) dtype.DType {
		return func(x Tensor) dtype.DType {
			if x.DType.Bits() == 8 && x.Elements() < 1<<50 {
				return d
			}
			return x.DType
		}
	}
	e, err := h.Edit(Edit{DType: wide(dtype.F64)})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Tensors()) != len(h.Tensors()) || len(e.Metadata()) != len(h.Metadata()) {
		t.Fatalf("%s became %s", h.Raw(), e.Raw())
	}
	for i, x := range h.Tensors() {
		if y := e.Tensors()[i]; y.Name != x.Name || len(y.Shape) != len(x.Shape) {
			t.Fatalf("tensor %d: %+v became %+v", i, x, y)
		}
	}
	if _, ok := h.Lookup("new"); !ok {
		e, err := h.Edit(Edit{Append: []Spec{{"new", dtype.U8, []int{3}}}})
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := e.Lookup("new"); !ok || x.Begin != h.DataSize() || len(e.Tensors()) != len(h.Tensors())+1 {
			t.Fatalf("%s became %s", h.Raw(), e.Raw())
		}
	}
	none, err := h.Edit(Edit{Remove: func(string) bool { return true }})
	if err != nil || len(none.Tensors()) != 0 || len(none.Metadata()) != len(h.Metadata()) {
		t.Fatalf("%s without tensors: %v", h.Raw(), err)
	}
}
