"""From the bytes of one file to pictures: formats, DICOM, volumes, the screens, likeness. Knows no table, no visit and no Ray."""
