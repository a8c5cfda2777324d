"""What `berth doctor` looks at: one file per thing, each a generator of `Finding`s."""
