//! Plans and their execution: order, liveness, arena, and the one table from operation to kernel.
