//! Detectors that read the structure of a file and need no pattern. Rules name them like any other.

/// A built-in detector.
#[derive(Debug, PartialEq, Eq)]
pub struct Structural {
    /// Detector id that rules may name.
    pub id: &'static str,
    /// Its family.
    pub family: &'static str,
    /// Short name.
    pub name: &'static str,
    /// What it finds, in a sentence.
    pub finds: &'static str,
}

/// Coordinates in a picture.
pub(crate) static IMAGE_LOCATION: Structural = Structural {
    id: "image-location",
    family: "location",
    name: "Location in a picture",
    finds: "Coordinates in the EXIF or XMP data of a JPEG or PNG.",
};

/// Names in a picture.
pub(crate) static IMAGE_AUTHOR: Structural = Structural {
    id: "image-author",
    family: "metadata-author",
    name: "Person named in a picture",
    finds: "Artist and camera owner in the EXIF data of a JPEG or PNG.",
};

/// Names in a document.
pub(crate) static DOCUMENT_AUTHOR: Structural = Structural {
    id: "document-author",
    family: "metadata-author",
    name: "Person named in a document",
    finds: "Author, last editor, and authors of comments and tracked changes of an office document.",
};

/// All built-in detectors.
pub static STRUCTURAL: [&Structural; 3] = [&IMAGE_LOCATION, &IMAGE_AUTHOR, &DOCUMENT_AUTHOR];
