package rule

// An Unsupported error reports valid input that loratool does not handle, by
// its name in the file, with the way out.
type Unsupported struct {
	File string
	What string // what was found, such as `peft_type "IA3"`
	Hint string // the way out
	Rule ID     // "" where no rule is about it
}

// Error returns one line: file, what, "not supported".
func (e *Unsupported) Error() string {
	s := e.What + ": " + ErrUnsupported.Error()
	if e.File != "" {
		s = Printable(e.File) + ": " + s
	}
	return s
}

// Unwrap makes errors.Is(err, ErrUnsupported) true.
func (e *Unsupported) Unwrap() error { return ErrUnsupported }
