package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestDecodeKeepsWhatIsWritten(t *testing.T) {
	const src = `{"b":[1,2.50,-0,1e400,"x\ty","\ud83d\ude00/",true,false,null],"a":{"":{}},"c":[]}`
	v, err := Decode([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(v.Append(nil)); got != src {
		t.Errorf("got  %s\nwant %s", got, src)
	}
	b, _ := v.Lookup("b")
	if b.Elements[1].Text != "2.50" || b.Elements[4].Text != "x\ty" || b.Elements[5].Text != "😀/" {
		t.Errorf("elements %v", b.Elements)
	}
	if _, ok := v.Lookup("B"); ok {
		t.Error("found a key in another case")
	}
}

func TestAppendIndent(t *testing.T) {
	v, err := Decode([]byte(`{"a":[1,{}],"b":{"c":null,"d":[]}}`))
	if err != nil {
		t.Fatal(err)
	}
	// What json.dumps(v, indent=2) of Python writes.
	want := "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": null,\n    \"d\": []\n  }\n}"
	if got := string(v.AppendIndent(nil, "  ")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDecodeFaults(t *testing.T) {
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	for _, c := range []struct {
		src     string
		problem Problem
		offset  int
	}{
		{``, Syntax, 0},
		{"\uFEFF{}", Syntax, 0},
		{`{"a":1,"a":2}`, Duplicate, 7},
		{`{"a":1,"\u0061":2}`, Duplicate, 7},
		{`[{"r":1,"r":1}]`, Duplicate, 8},
		{`NaN`, Syntax, 0},
		{`[Infinity]`, Syntax, 1},
		{`-Infinity`, Syntax, 1},
		{`[1,]`, Syntax, 3},
		{`[01]`, Syntax, 1},
		{`[1.]`, Syntax, 3},
		{`[1e+]`, Syntax, 4},
		{`"a`, Syntax, 2},
		{"\"a\n\"", Syntax, 2},
		{`"\x"`, Syntax, 1},
		{`"\u12G4"`, Syntax, 5},
		{`"\ud800"`, Surrogate, 1},
		{`"\ud800\n"`, Surrogate, 1},
		{`"\udc00\ud800"`, Surrogate, 1},
		{"\"\x80\"", Encoding, 1},
		{"[\"\xED\xA0\x80\"]", Encoding, 2},
		{`{} {}`, Syntax, 3},
		{`{"a" 1}`, Syntax, 5},
		{`{1:1}`, Syntax, 1},
		{`nul`, Syntax, 0},
		{deep, Depth, 64},
	} {
		_, err := Decode([]byte(c.src))
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Problem != c.problem || e.Offset != c.offset {
			t.Errorf("%q: got %v, want problem %d at byte %d", c.src, err, c.problem, c.offset)
		}
	}
	if _, err := Decode([]byte(deep[1 : len(deep)-1])); err != nil {
		t.Errorf("64 deep: %v", err)
	}
}

func TestNonFinite(t *testing.T) {
	const src = `[NaN,Infinity,-Infinity,-1]`
	v, err := Limits{NonFinite: true}.Decode([]byte(src))
	if err != nil || string(v.Append(nil)) != src {
		t.Errorf("%s: %v", v.Append(nil), err)
	}
	if _, err := (Limits{NonFinite: true}).Decode([]byte(`-NaN`)); err == nil {
		t.Error("-NaN accepted")
	}
}

func TestLimits(t *testing.T) {
	many := []byte("[" + strings.Repeat("0,", MaxValues) + "0]")
	_, err := Decode(many)
	if e, ok := errors.AsType[*Error](err); !ok || e.Problem != Size {
		t.Errorf("got %v, want a Size error", err)
	}
}

func TestKeys(t *testing.T) {
	var k Keys
	for i := range 1000 {
		if err := k.Add(strings.Repeat("x", i), i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		if err := k.Add(strings.Repeat("x", i), i); err == nil {
			t.Fatalf("key of %d bytes was not found again", i)
		}
	}
}

// FuzzStrictJSON holds Decode against the decoder that is to become Go's own,
// which refuses the same things, but for the limits.
func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,true,null,"x\u00e9"]}`, `{"a":1,"\u0061":2}`, `"\ud800"`, "\"\x80\"", `[[[]]]`, `-0.0E+1`, ` { } `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Decode(data)
		if e, ok := errors.AsType[*Error](err); ok {
			if e.Offset < 0 || e.Offset > len(data) {
				t.Errorf("offset %d of %d bytes", e.Offset, len(data))
			}
			if e.Problem == Depth || e.Problem == Size {
				return
			}
		}
		if theirs := oracle(data); (err == nil) != (theirs == nil) {
			t.Fatalf("%q: we say %v, jsontext says %v", data, err, theirs)
		}
		if err != nil {
			return
		}
		out := v.Append(nil)
		if !json.Valid(out) {
			t.Fatalf("wrote %q", out)
		}
		again, err := Decode(out)
		if err != nil || !bytes.Equal(again.Append(nil), out) {
			t.Fatalf("%q became %q: %v", data, out, err)
		}
	})
}

func oracle(data []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if err := d.SkipValue(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err == nil {
		return errors.New("second value")
	} else if err.Error() != "EOF" {
		return err
	}
	return nil
}
