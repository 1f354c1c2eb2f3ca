"""What is not the field's: durable files, locks, processes, the machine, progress, versions."""
