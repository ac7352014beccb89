"""The models that can be queried, as a table: fields, associations and the keys that join them.

The first line of a model is its name and its table; `(type=X)` where models share a table, `: Base` where it
has all that Base has. Then come fields and associations, in the order of the published schema.

A field is an integer where its name is `id` or ends in `_id`, else a string, unless `name:type` says so. An
association is `kind name Class keys`. Keys are `own=other`, columns of the two tables; `other` alone stands
for `id=other`, nothing for `name_id=id`. Through a join table they are `table/own/other`, and `id` on both
sides. `?column=value` holds for the other row, `!column=value` for the own one. A backslash continues a
line.
"""

from __future__ import annotations

MODELS_TEXT = """
Age ages
  id name description days:float embryonic:boolean organism_id tags age_group_id
  has_many neurosurgeries Neurosurgery age_id
  belongs_to organism Organism

Alignment2d alignment2ds
  id tvs_00:float tvs_01:float tvs_02:float tvs_03:float tvs_04:float tvs_05:float
  tsv_00:float tsv_01:float tsv_02:float tsv_03:float tsv_04:float tsv_05:float section_image_id
  belongs_to section_image SectionImage

Alignment3d alignment3ds
  id aligned_type aligned_id
  tvr_00:float tvr_01:float tvr_02:float tvr_03:float tvr_04:float tvr_05:float
  tvr_06:float tvr_07:float tvr_08:float tvr_09:float tvr_10:float tvr_11:float
  trv_00:float trv_01:float trv_02:float trv_03:float trv_04:float trv_05:float
  trv_06:float trv_07:float trv_08:float trv_09:float trv_10:float trv_11:float
  belongs_to aligned DataSet aligned_id=id !aligned_type=DataSet
  has_many specimens Specimen aligned_id=id !aligned_type=Specimen

AlternateImage alternate_images
  id image_type path sub_image_id
  belongs_to sub_image SubImage

Atlas atlases
  id name structure_graph_id specimen_id xyz_sort treatment_id graphic_group_label_id reference_space_id
  description image_type
  belongs_to structure_graph StructureGraph
  belongs_to specimen Specimen
  belongs_to treatment Treatment
  belongs_to graphic_group_label GraphicGroupLabel
  belongs_to reference_space ReferenceSpace
  has_and_belongs_to_many atlas_data_sets AtlasDataSet atlases_data_sets/atlas_id/data_set_id
  has_and_belongs_to_many graphic_group_labels GraphicGroupLabel \
    atlases_graphic_group_labels/atlas_id/graphic_group_label_id

Chromosome chromosomes
  id name organism_id
  belongs_to organism Organism

Condition conditions
  id name description

DataSet data_sets
  id name type specimen_id plane_of_section_id failed:boolean section_thickness:float qc_date:datetime
  expression:boolean storage_directory reference_space_id weight:integer delegate:boolean failed_facet:integer
  sphinx_id red_channel green_channel blue_channel rnaseq_design_id
  belongs_to specimen Specimen
  belongs_to plane_of_section PlaneOfSection
  belongs_to reference_space ReferenceSpace
  has_many section_images SectionImage data_set_id
  has_many sub_images SubImage data_set_id
  has_many well_known_files WellKnownFile attachable_id ?attachable_type=DataSet
  has_and_belongs_to_many treatments Treatment data_sets_treatments/data_set_id/treatment_id
  has_and_belongs_to_many probes Probe data_sets_probes/data_set_id/probe_id
  has_many genes Gene data_sets_genes/data_set_id/gene_id
  has_and_belongs_to_many products Product data_sets_products/data_set_id/product_id
  has_many structure_unionizes StructureUnionize section_data_set_id
  has_many fine_structure_searches FineStructureSearch section_data_set_id
  has_many manual_annotations ManualAnnotation section_data_set_id
  has_one alignment3d Alignment3d aligned_id ?aligned_type=DataSet
  has_one equalization Equalization section_data_set_id

AtlasDataSet data_sets (type=AtlasDataSet) : DataSet
  has_many atlas_images AtlasImage data_set_id
  has_and_belongs_to_many atlases Atlas atlases_data_sets/data_set_id/atlas_id

SectionDataSet data_sets (type=SectionDataSet) : DataSet

Donor donors
  id name age_id organism_id strain sex transgenic_mouse_id handedness pmi:float condition_description:text
  external_donor_name sex_full_name weight_grams:float
  belongs_to age Age
  belongs_to organism Organism
  belongs_to transgenic_mouse TransgenicMouse
  has_many specimens Specimen donor_id
  has_many donor_condition_values DonorConditionValue donor_id
  has_many conditions Condition conditions_donors/donor_id/condition_id
  has_and_belongs_to_many products Product donors_products/donor_id/product_id
  has_many neurosurgeries Neurosurgery donor_id

DonorConditionValue donor_condition_values
  id name value donor_id condition_id
  belongs_to donor Donor
  belongs_to condition Condition

Equalization equalizations
  id red_lower:integer red_upper:integer green_lower:integer green_upper:integer blue_lower:integer
  blue_upper:integer red_mean:float red_std_dev:float green_mean:float green_std_dev:float blue_mean:float
  blue_std_dev:float section_data_set_id
  belongs_to section_data_set SectionDataSet

FineStructureSearch fine_structure_searches
  id section_data_set_id structure_id gene_rank:float
  belongs_to structure Structure
  belongs_to section_data_set SectionDataSet

Gene genes
  id name entrez_id acronym organism_id chromosome_id homologene_id type legacy_ensembl_gene_id
  ensembl_id:string sphinx_id alias_tags original_name original_symbol reference_genome_id
  genomic_reference_update_id version_status molbio_authority_id
  belongs_to organism Organism
  has_many transcripts Transcript gene_id
  has_and_belongs_to_many gene_tags GeneTag gene_tags_genes/gene_id/gene_tag_id
  has_and_belongs_to_many gene_classifications GeneClassification \
    gene_classifications_genes/gene_id/gene_classification_id
  belongs_to chromosome Chromosome
  has_many gene_aliases GeneAlias gene_id
  has_many probes Probe gene_id
  has_many gene_lookups GeneLookup gene_id
  has_many gene_classification_counts GeneClassificationCount gene_id
  has_and_belongs_to_many products Product genes_products/gene_id/product_id
  has_many data_sets DataSet data_sets_genes/gene_id/data_set_id
  has_many gene_associations GeneAssociation gene_id
  has_and_belongs_to_many transgenic_lines TransgenicLine genes_transgenic_lines/gene_id/transgenic_line_id
  belongs_to molbio_authority MolbioAuthority

GeneAlias gene_aliases
  id name gene_id
  belongs_to gene Gene

GeneAssociation gene_associations
  id gene_id probe_id
  belongs_to gene Gene
  belongs_to probe Probe

GeneClassification gene_classifications
  id name

GeneClassificationCount gene_classification_counts
  id count:integer gene_id gene_classification_id
  belongs_to gene Gene
  belongs_to gene_classification GeneClassification

GeneLookup gene_lookups
  id name gene_id
  belongs_to gene Gene

GeneTag gene_tags
  id name

GraphicGroupLabel graphic_group_labels
  id name color
  has_many groups Group graphic_group_label_id

GraphicObject graphic_objects
  id type order:integer parent_id address graphic_group_label_id sub_image_id structure_id path:text mag:float
  display_attributes:text template_id
  has_many graphic_transformations GraphicTransformation graphic_object_id
  has_many graphic_objects GraphicObject parent_id
  has_many clones GraphicObject template_id
  belongs_to parent GraphicObject
  belongs_to template GraphicObject
  belongs_to sub_image SubImage
  belongs_to graphic_group_label GraphicGroupLabel
  belongs_to structure Structure

GraphicTransformation graphic_transformations
  id matrix graphic_object_id
  belongs_to graphic_object GraphicObject

Group groups
  id name graphic_group_label_id
  belongs_to graphic_group_label GraphicGroupLabel

Hemisphere hemispheres
  id name symbol

Injection injections
  id specimen_id structure_id primary_injection_structure_id
  belongs_to specimen Specimen
  belongs_to structure Structure
  belongs_to primary_injection_structure Structure

ManualAnnotation manual_annotations
  id structure_id section_data_set_id annotation_plan_name intensity_call density_call pattern_call
  mixed_population_call comment
  belongs_to structure Structure
  belongs_to section_data_set SectionDataSet

MicroarrayDesign microarray_designs
  id name

MolbioAuthority molbio_authorities
  id name

Neurosurgery neurosurgeries
  id name age_id donor_id
  belongs_to age Age
  belongs_to donor Donor

Ontology ontologies
  id name organism_id has_atlas:boolean description abbreviation
  has_many structure_graphs StructureGraph ontology_id
  has_many structure_lookups StructureLookup ontology_id
  belongs_to organism Organism
  has_and_belongs_to_many products Product ontologies_products/ontology_id/product_id

Organism organisms
  id name ncbitaxonomyid:integer tags
  has_many ontologies Ontology organism_id

Orientation orientations
  id name

PlaneOfSection plane_of_sections
  id name

Probe probes
  id name label orientation_id gene_id predicted_sequence_id forward_sequence_id reverse_sequence_id
  ncbi_accession_number gi:integer probe_type fluor_color gc_percent:float
  belongs_to gene Gene
  has_one gene_association GeneAssociation probe_id
  belongs_to orientation Orientation
  belongs_to predicted_sequence Sequence
  belongs_to forward_primer_sequence Sequence forward_sequence_id=id
  belongs_to reverse_primer_sequence Sequence reverse_sequence_id=id
  has_and_belongs_to_many microarray_designs MicroarrayDesign \
    microarray_designs_probes/probe_id/microarray_design_id
  has_and_belongs_to_many data_sets DataSet data_sets_probes/probe_id/data_set_id
  has_and_belongs_to_many products Product probes_products/probe_id/product_id

Product products
  id name abbreviation resource description:text documentation tags
  has_and_belongs_to_many ontologies Ontology ontologies_products/product_id/ontology_id

ProjectionStructureUnionize projection_structure_unionizes
  id section_data_set_id structure_id hemisphere_id is_injection:boolean sum_pixels:float
  sum_projection_pixels:float sum_pixel_intensity:float sum_projection_pixel_intensity:float
  projection_density:float projection_energy:float projection_intensity:float
  belongs_to section_data_set SectionDataSet
  belongs_to structure Structure
  belongs_to hemisphere Hemisphere

ReferenceSpace reference_spaces
  id organism_id age_id anatomy name storage_directory
  belongs_to organism Organism
  belongs_to age Age
  has_and_belongs_to_many products Product products_reference_spaces/reference_space_id/product_id
  has_many well_known_files WellKnownFile attachable_id ?attachable_type=ReferenceSpace

ReferenceToReferenceTransform reference_to_reference_transforms
  id from_reference_space_id to_reference_space_id
  t_00:float t_01:float t_02:float t_03:float t_04:float t_05:float
  t_06:float t_07:float t_08:float t_09:float t_10:float t_11:float
  belongs_to from_reference_space ReferenceSpace
  belongs_to to_reference_space ReferenceSpace

Sequence sequences
  id name sequence:text sequence_length:integer

SubImage sub_images
  id type path x:integer y:integer width:integer height:integer section_number:integer failed:boolean
  specimen_id data_set_id resolution:float tier_count:integer expression_path image_width:integer
  image_height:integer annotated:boolean structure_id image_type lims1_id bits_per_component:integer
  number_of_components:integer expression:boolean axes projection_function isi_experiment_id
  ophys_experiment_id
  belongs_to structure Structure
  belongs_to data_set DataSet
  has_many graphic_objects GraphicObject sub_image_id
  has_many alternate_images AlternateImage sub_image_id
  has_many sub_image_annotations SubImageAnnotation sub_image_id

SectionImage sub_images (type=SectionImage) : SubImage
  belongs_to section_data_set SectionDataSet data_set_id=id
  has_many treatments Treatment sub_images_treatments/sub_image_id/treatment_id
  has_one alignment2d Alignment2d section_image_id
  has_and_belongs_to_many associates SectionImage associates_sub_images/sub_image_id/associate_id

AtlasImage sub_images (type=AtlasImage) : SubImage
  belongs_to section_data_set SectionDataSet data_set_id=id
  has_many treatments Treatment sub_images_treatments/sub_image_id/treatment_id
  has_one alignment2d Alignment2d section_image_id
  has_and_belongs_to_many associates SectionImage associates_sub_images/sub_image_id/associate_id
  belongs_to atlas_data_set AtlasDataSet data_set_id=id

SubImageAnnotation sub_image_annotations
  id sub_image_id structure_id
  belongs_to sub_image SubImage
  belongs_to structure Structure

Specimen specimens
  id donor_id name tissue_ph:float rna_integrity_number:float hemisphere structure_id parent_id
  parent_x_coord:integer parent_y_coord:integer parent_z_coord:integer external_specimen_name
  specimen_id_path
  belongs_to parent Specimen
  has_many children Specimen parent_id
  has_many data_sets DataSet specimen_id
  has_many specimen_images SpecimenImage specimen_id
  has_many well_known_files WellKnownFile attachable_id ?attachable_type=Specimen
  has_many injections Injection specimen_id
  has_and_belongs_to_many specimen_types SpecimenType specimen_types_specimens/specimen_id/specimen_type_id
  belongs_to donor Donor
  belongs_to structure Structure
  has_many specimen_condition_values SpecimenConditionValue specimen_id
  has_many conditions Condition conditions_specimens/specimen_id/condition_id
  has_one alignment3d Alignment3d aligned_id ?aligned_type=Specimen
  has_and_belongs_to_many annotation_structures Structure specimens_structures/specimen_id/structure_id

SpecimenConditionValue specimen_condition_values
  id name value specimen_id condition_id
  belongs_to specimen Specimen
  belongs_to condition Condition

SpecimenImage specimen_images
  id path specimen_id
  belongs_to specimen Specimen

SpecimenType specimen_types
  id name

Structure structures
  id atlas_id name acronym st_level:integer ontology_id hemisphere_id weight:integer parent_structure_id
  depth:integer graph_id graph_order:integer structure_id_path color_hex_triplet neuro_name_structure_id
  neuro_name_structure_id_path failed:boolean sphinx_id structure_name_facet:integer failed_facet:integer
  safe_name
  belongs_to structure_graph StructureGraph graph_id=id
  belongs_to ontology Ontology
  belongs_to hemisphere Hemisphere
  has_many specimens Specimen structure_id
  has_many structure_sets_structures StructureSetsStructure structure_id
  has_many structure_sets StructureSet structure_sets_structures/structure_id/structure_set_id
  has_many structure_centers StructureCenter structure_id
  has_one parent_structure Structure parent_structure_id=id
  has_many child_structures Structure parent_structure_id
  has_one graph StructureGraph graph_id=id
  has_many structure_unionizes StructureUnionize structure_id
  has_many fine_structure_searches FineStructureSearch structure_id
  has_many manual_annotations ManualAnnotation structure_id

StructureCenter structure_centers
  id structure_id x:integer y:integer z:integer reference_space_id
  belongs_to structure Structure
  belongs_to reference_space ReferenceSpace

StructureGraph structure_graphs
  id name root_structure_id ontology_id
  belongs_to root_structure Structure
  belongs_to ontology Ontology

StructureLookup structure_lookups
  id name structure_id ontology_id
  belongs_to structure Structure
  belongs_to ontology Ontology

StructureSet structure_sets
  id name description
  has_many structure_sets_structures StructureSetsStructure structure_set_id
  has_many structures Structure structure_sets_structures/structure_set_id/structure_id

StructureSetsStructure structure_sets_structures
  id structure_id structure_set_id
  belongs_to structure Structure
  belongs_to structure_set StructureSet

StructureUnionize structure_unionizes
  id section_data_set_id structure_id sum_pixels:float sum_expressing_pixels:float sum_pixel_intensity:float
  sum_expressing_pixel_intensity:float expression_density:float expression_energy:float
  voxel_energy_mean:float voxel_energy_cv:float hemisphere_id
  belongs_to section_data_set SectionDataSet
  belongs_to structure Structure
  belongs_to hemisphere Hemisphere

Transcript transcripts
  id name gene_id
  belongs_to gene Gene

TransgenicLine transgenic_lines
  id name description

TransgenicMouse transgenic_mice
  id name description

Treatment treatments
  id name tags

WellKnownFile well_known_files
  id path attachable_id attachable_type well_known_file_type_id download_link
  belongs_to well_known_file_type WellKnownFileType
  belongs_to attachable DataSet attachable_id=id !attachable_type=DataSet

WellKnownFileType well_known_file_types
  id name
  has_many well_known_files WellKnownFile well_known_file_type_id
"""
