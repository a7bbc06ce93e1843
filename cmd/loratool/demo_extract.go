package main

import "io"

// command runs a command as a user would type it, on files of the tour.
func (t *tour) command(args ...string) error {
	cmd := newRootCmd(t.out, io.Discard)
	cmd.SetArgs(args)
	return cmd.ExecuteContext(t.ctx)
}

// extract finds the adapter again in what merging made of the base, and holds
// it against the specification and the base.
func (t *tour) extract() error {
	t.step("extract base merged -o extracted --rank auto")
	if err := t.command("extract", t.path("base"), t.path("merged"), "-o", t.path("extracted"), "--rank", "auto"); err != nil {
		return err
	}
	a, err := openAdapter(t.path("extracted"))
	if err != nil {
		return err
	}
	defer a.Close()
	trained, err := openAdapter(t.path("adapter"))
	if err != nil {
		return err
	}
	defer trained.Close()
	rank := map[string]int{}
	for _, m := range a.Modules {
		rank[m.Path] = m.Rank
	}
	found := len(a.Modules) == len(trained.Modules)
	for _, m := range trained.Modules {
		found = found && rank[m.Path] == m.Rank
	}
	if err := t.check(found, "all %d modules are found again, at the rank they were trained with", len(trained.Modules)); err != nil {
		return err
	}
	t.step("validate extracted --base base --deep --strict")
	err = t.command("validate", t.path("extracted"), "--base", t.path("base"), "--deep", "--strict")
	if err != nil {
		return err
	}
	return t.check(true, "it keeps every rule of the specification, and is bound to the base")
}
