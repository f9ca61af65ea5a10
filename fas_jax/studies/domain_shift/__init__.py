"""Which threshold rule travels: random rendered domains, and what each rule costs against the size of the shift."""
