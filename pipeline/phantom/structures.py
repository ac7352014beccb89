"""The phantom's ontology: a part of the Allen Institute's adult mouse ontology, with all ancestors included.

The table has one structure a line: id | acronym | parent id | graph order | colour | name.
"""

from __future__ import annotations

from functools import cache

from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology

TABLE = """\
997|root||0|FFFFFF|root
8|grey|997|1|BFDAE3|Basic cell groups and regions
567|CH|8|2|B0F0FF|Cerebrum
688|CTX|567|3|B0FFB8|Cerebral cortex
695|CTXpl|688|4|70FF70|Cortical plate
315|Isocortex|695|5|70FF71|Isocortex
184|FRP|315|6|268F45|Frontal pole, cerebral cortex
68|FRP1|184|7|268F45|Frontal pole, layer 1
667|FRP2/3|184|8|268F45|Frontal pole, layer 2/3
526157192|FRP5|184|9|268F45|Frontal pole, layer 5
526157196|FRP6a|184|10|268F45|Frontal pole, layer 6a
526322264|FRP6b|184|11|268F45|Frontal pole, layer 6b
500|MO|315|12|1F9D5A|Somatomotor areas
985|MOp|500|18|1F9D5A|Primary motor area
320|MOp1|985|19|1F9D5A|Primary motor area, Layer 1
943|MOp2/3|985|20|1F9D5A|Primary motor area, Layer 2/3
648|MOp5|985|21|1F9D5A|Primary motor area, Layer 5
844|MOp6a|985|22|1F9D5A|Primary motor area, Layer 6a
882|MOp6b|985|23|1F9D5A|Primary motor area, Layer 6b
993|MOs|500|24|1F9D5A|Secondary motor area
656|MOs1|993|25|1F9D5A|Secondary motor area, layer 1
962|MOs2/3|993|26|1F9D5A|Secondary motor area, layer 2/3
767|MOs5|993|27|1F9D5A|Secondary motor area, layer 5
1021|MOs6a|993|28|1F9D5A|Secondary motor area, layer 6a
1085|MOs6b|993|29|1F9D5A|Secondary motor area, layer 6b
453|SS|315|30|188064|Somatosensory areas
322|SSp|453|37|188064|Primary somatosensory area
793|SSp1|322|38|188064|Primary somatosensory area, layer 1
346|SSp2/3|322|39|188064|Primary somatosensory area, layer 2/3
865|SSp4|322|40|188064|Primary somatosensory area, layer 4
921|SSp5|322|41|188064|Primary somatosensory area, layer 5
686|SSp6a|322|42|188064|Primary somatosensory area, layer 6a
719|SSp6b|322|43|188064|Primary somatosensory area, layer 6b
378|SSs|453|100|188064|Supplemental somatosensory area
873|SSs1|378|101|188064|Supplemental somatosensory area, layer 1
806|SSs2/3|378|102|188064|Supplemental somatosensory area, layer 2/3
1035|SSs4|378|103|188064|Supplemental somatosensory area, layer 4
1090|SSs5|378|104|188064|Supplemental somatosensory area, layer 5
862|SSs6a|378|105|188064|Supplemental somatosensory area, layer 6a
893|SSs6b|378|106|188064|Supplemental somatosensory area, layer 6b
247|AUD|315|121|019399|Auditory areas
1002|AUDp|247|136|019399|Primary auditory area
735|AUDp1|1002|137|019399|Primary auditory area, layer 1
251|AUDp2/3|1002|138|019399|Primary auditory area, layer 2/3
816|AUDp4|1002|139|019399|Primary auditory area, layer 4
847|AUDp5|1002|140|019399|Primary auditory area, layer 5
954|AUDp6a|1002|141|019399|Primary auditory area, layer 6a
1005|AUDp6b|1002|142|019399|Primary auditory area, layer 6b
669|VIS|315|157|08858C|Visual areas
385|VISp|669|185|08858C|Primary visual area
593|VISp1|385|186|08858C|Primary visual area, layer 1
821|VISp2/3|385|187|08858C|Primary visual area, layer 2/3
721|VISp4|385|188|08858C|Primary visual area, layer 4
778|VISp5|385|189|08858C|Primary visual area, layer 5
33|VISp6a|385|190|08858C|Primary visual area, layer 6a
305|VISp6b|385|191|08858C|Primary visual area, layer 6b
31|ACA|315|220|40A666|Anterior cingulate area
39|ACAd|31|226|40A666|Anterior cingulate area, dorsal part
935|ACAd1|39|227|40A666|Anterior cingulate area, dorsal part, layer 1
211|ACAd2/3|39|228|40A666|Anterior cingulate area, dorsal part, layer 2/3
1015|ACAd5|39|229|40A666|Anterior cingulate area, dorsal part, layer 5
919|ACAd6a|39|230|40A666|Anterior cingulate area, dorsal part, layer 6a
927|ACAd6b|39|231|40A666|Anterior cingulate area, dorsal part, layer 6b
714|ORB|315|252|248A5E|Orbital area
723|ORBl|714|258|248A5E|Orbital area, lateral part
448|ORBl1|723|259|248A5E|Orbital area, lateral part, layer 1
412|ORBl2/3|723|260|248A5E|Orbital area, lateral part, layer 2/3
630|ORBl5|723|261|248A5E|Orbital area, lateral part, layer 5
440|ORBl6a|723|262|248A5E|Orbital area, lateral part, layer 6a
488|ORBl6b|723|263|248A5E|Orbital area, lateral part, layer 6b
95|AI|315|278|219866|Agranular insular area
104|AId|95|279|219866|Agranular insular area, dorsal part
996|AId1|104|280|219866|Agranular insular area, dorsal part, layer 1
328|AId2/3|104|281|219866|Agranular insular area, dorsal part, layer 2/3
1101|AId5|104|282|219866|Agranular insular area, dorsal part, layer 5
783|AId6a|104|283|219866|Agranular insular area, dorsal part, layer 6a
831|AId6b|104|284|219866|Agranular insular area, dorsal part, layer 6b
254|RSP|315|297|1AA698|Retrosplenial area
879|RSPd|254|325|1AA698|Retrosplenial area, dorsal part
442|RSPd1|879|326|1AA698|Retrosplenial area, dorsal part, layer 1
434|RSPd2/3|879|327|1AA698|Retrosplenial area, dorsal part, layer 2/3
610|RSPd5|879|329|1AA698|Retrosplenial area, dorsal part, layer 5
274|RSPd6a|879|330|1AA698|Retrosplenial area, dorsal part, layer 6a
330|RSPd6b|879|331|1AA698|Retrosplenial area, dorsal part, layer 6b
541|TEa|315|360|15B0B3|Temporal association areas
97|TEa1|541|361|15B0B3|Temporal association areas, layer 1
1127|TEa2/3|541|362|15B0B3|Temporal association areas, layer 2/3
234|TEa4|541|363|15B0B3|Temporal association areas, layer 4
289|TEa5|541|364|15B0B3|Temporal association areas, layer 5
729|TEa6a|541|365|15B0B3|Temporal association areas, layer 6a
786|TEa6b|541|366|15B0B3|Temporal association areas, layer 6b
698|OLF|695|379|9AD2BD|Olfactory areas
507|MOB|698|380|9AD2BD|Main olfactory bulb
212|MOBgl|507|381|82C7AE|Main olfactory bulb, glomerular layer
220|MOBgr|507|382|82C7AE|Main olfactory bulb, granule layer
151|AOB|698|386|9DF0D2|Accessory olfactory bulb
196|AOBgr|151|388|95E4C8|Accessory olfactory bulb, granular layer
159|AON|698|390|54BF94|Anterior olfactory nucleus
589|TT|698|398|62D09F|Taenia tecta
597|TTd|589|399|62D09F|Taenia tecta, dorsal part
961|PIR|698|416|6ACBBA|Piriform area
631|COA|698|426|61E7B7|Cortical amygdalar area
639|COAa|631|427|61E7B7|Cortical amygdalar area, anterior part
1089|HPF|695|454|7ED04B|Hippocampal formation
1080|HIP|1089|455|7ED04B|Hippocampal region
375|CA|1080|456|7ED04B|Ammon's horn
382|CA1|375|457|7ED04B|Field CA1
463|CA3|375|467|7ED04B|Field CA3
726|DG|1080|473|7ED04B|Dentate gyrus
10703|DG-mo|726|474|7ED04B|Dentate gyrus, molecular layer
10704|DG-po|726|475|7ED04B|Dentate gyrus, polymorph layer
632|DG-sg|726|476|66A83D|Dentate gyrus, granule cell layer
822|RHP|1089|492|32B825|Retrohippocampal region
909|ENT|822|493|32B825|Entorhinal area
918|ENTl|909|494|32B825|Entorhinal area, lateral part
1121|ENTl1|918|495|32B825|Entorhinal area, lateral part, layer 1
20|ENTl2|918|496|32B825|Entorhinal area, lateral part, layer 2
52|ENTl3|918|500|32B825|Entorhinal area, lateral part, layer 3
139|ENTl5|918|503|32B825|Entorhinal area, lateral part, layer 5
28|ENTl6a|918|505|32B825|Entorhinal area, lateral part, layer 6a
502|SUB|822|535|4FC244|Subiculum
703|CTXsp|688|555|8ADA87|Cortical subplate
583|CLA|703|557|8ADA87|Claustrum
942|EP|703|558|A0EE9D|Endopiriform nucleus
952|EPd|942|559|A0EE9D|Endopiriform nucleus, dorsal part
131|LA|703|561|90EB8D|Lateral amygdalar nucleus
295|BLA|703|562|9DE79C|Basolateral amygdalar nucleus
303|BLAa|295|563|9DE79C|Basolateral amygdalar nucleus, anterior part
319|BMA|703|566|84EA81|Basomedial amygdalar nucleus
327|BMAa|319|567|84EA81|Basomedial amygdalar nucleus, anterior part
623|CNU|567|570|98D6F9|Cerebral nuclei
477|STR|623|571|98D6F9|Striatum
485|STRd|477|572|98D6F9|Striatum dorsal region
672|CP|485|573|98D6F9|Caudoputamen
493|STRv|477|574|80CDF8|Striatum ventral region
56|ACB|493|575|80CDF8|Nucleus accumbens
754|OT|493|577|80CDF8|Olfactory tubercle
275|LSX|477|585|90CBED|Lateral septal complex
242|LS|275|586|90CBED|Lateral septal nucleus
258|LSr|242|588|90CBED|Lateral septal nucleus, rostral (rostroventral) part
278|sAMY|477|592|80C0E2|Striatum-like amygdalar nuclei
536|CEA|278|595|80C0E2|Central amygdalar nucleus
403|MEA|278|600|80C0E2|Medial amygdalar nucleus
803|PAL|623|608|8599CC|Pallidum
818|PALd|803|609|8599CC|Pallidum, dorsal region
1022|GPe|818|610|8599CC|Globus pallidus, external segment
1031|GPi|818|611|8599CC|Globus pallidus, internal segment
835|PALv|803|612|A2B1D8|Pallidum, ventral region
342|SI|835|613|A2B1D8|Substantia innominata
826|PALm|803|615|96A7D3|Pallidum, medial region
904|MSC|826|616|96A7D3|Medial septal complex
564|MS|904|617|96A7D3|Medial septal nucleus
809|PALc|803|620|B3C0DF|Pallidum, caudal region
351|BST|809|621|B3C0DF|Bed nuclei of the stria terminalis
343|BS|8|639|FF7080|Brain stem
1129|IB|343|640|FF7080|Interbrain
549|TH|1129|641|FF7080|Thalamus
864|DORsm|549|642|FF8084|Thalamus, sensory-motor cortex related
637|VENT|864|643|FF8084|Ventral group of the dorsal thalamus
629|VAL|637|644|FF8084|Ventral anterior-lateral complex of the thalamus
685|VM|637|645|FF8084|Ventral medial nucleus of the thalamus
709|VP|637|646|FF8084|Ventral posterior complex of the thalamus
718|VPL|709|647|FF8084|Ventral posterolateral nucleus of the thalamus
733|VPM|709|649|FF8084|Ventral posteromedial nucleus of the thalamus
1008|GENd|864|657|FF8084|Geniculate group, dorsal thalamus
475|MG|1008|658|FF8084|Medial geniculate complex
1079|MGv|475|660|FF8084|Medial geniculate complex, ventral part
170|LGd|1008|662|FF8084|Dorsal part of the lateral geniculate complex
856|DORpm|549|666|FF909F|Thalamus, polymodal association cortex related
138|LAT|856|667|FF909F|Lateral group of the dorsal thalamus
218|LP|138|668|FF909F|Lateral posterior nucleus of the thalamus
1020|PO|138|669|FF909F|Posterior complex of the thalamus
239|ATN|856|674|FF909F|Anterior group of the dorsal thalamus
255|AV|239|675|FF909F|Anteroventral nucleus of thalamus
64|AD|239|679|FF909F|Anterodorsal nucleus
444|MED|856|683|FF909F|Medial group of the dorsal thalamus
362|MD|444|685|FF909F|Mediodorsal nucleus of thalamus
571|MTN|856|691|FF909F|Midline group of the dorsal thalamus
149|PVT|571|692|FF909F|Paraventricular nucleus of the thalamus
181|RE|571|694|FF909F|Nucleus of reuniens
51|ILM|856|696|FF909F|Intralaminar nuclei of the dorsal thalamus
599|CM|51|698|FF909F|Central medial nucleus of the thalamus
930|PF|51|701|FF909F|Parafascicular nucleus
262|RT|856|703|FF909F|Reticular nucleus of the thalamus
958|EPI|856|711|FF909F|Epithalamus
483|MH|958|712|FF909F|Medial habenula
186|LH|958|713|FF909F|Lateral habenula
1097|HY|1129|715|E64438|Hypothalamus
157|PVZ|1097|716|FF5D50|Periventricular zone
223|ARH|157|733|FF5D50|Arcuate hypothalamic nucleus
141|PVR|1097|734|FF5547|Periventricular region
830|DMH|141|739|FF5547|Dorsomedial nucleus of the hypothalamus
523|MPO|141|744|FF5547|Medial preoptic area
286|SCH|141|752|FF5547|Suprachiasmatic nucleus
467|MEZ|1097|756|FF4C3E|Hypothalamic medial zone
88|AHN|467|757|FF4C3E|Anterior hypothalamic nucleus
331|MBO|467|762|FF4C3E|Mammillary body
491|MM|331|764|FF4C3E|Medial mammillary nucleus
693|VMH|467|787|FF4C3E|Ventromedial hypothalamic nucleus
946|PH|467|792|FF4C3E|Posterior hypothalamic nucleus
290|LZ|1097|793|F2483B|Hypothalamic lateral zone
194|LHA|290|794|F2483B|Lateral hypothalamic area
226|LPO|290|795|F2483B|Lateral preoptic area
470|STN|290|800|F2483B|Subthalamic nucleus
797|ZI|290|802|F2483B|Zona incerta
313|MB|343|806|FF64FF|Midbrain
339|MBsen|313|807|FF7AFF|Midbrain, sensory related
302|SCs|339|808|FF7AFF|Superior colliculus, sensory related
851|SCop|302|809|FF7AFF|Superior colliculus, optic layer
842|SCsg|302|810|FF7AFF|Superior colliculus, superficial gray layer
834|SCzo|302|811|FF7AFF|Superior colliculus, zonal layer
4|IC|339|812|FF7AFF|Inferior colliculus
811|ICc|4|813|FF7AFF|Inferior colliculus, central nucleus
828|ICe|4|815|FF7AFF|Inferior colliculus, external nucleus
323|MBmot|313|821|FF90FF|Midbrain, motor related
381|SNr|323|822|FF90FF|Substantia nigra, reticular part
749|VTA|323|823|FF90FF|Ventral tegmental area
128|MRN|323|826|FF90FF|Midbrain reticular nucleus
294|SCm|323|830|FF90FF|Superior colliculus, motor related
26|SCdg|294|831|FF90FF|Superior colliculus, motor related, deep gray layer
17|SCiw|294|833|FF90FF|Superior colliculus, motor related, intermediate white layer
10|SCig|294|834|FF90FF|Superior colliculus, motor related, intermediate gray layer
795|PAG|323|838|FF90FF|Periaqueductal gray
1100|PRT|323|843|FF90FF|Pretectal region
215|APN|1100|844|FF90FF|Anterior pretectal nucleus
214|RN|323|853|FF90FF|Red nucleus
348|MBsta|313|865|FF90FF|Midbrain, behavioral state related
374|SNc|348|866|FFA6FF|Substantia nigra, compact part
1052|PPN|348|867|FFA6FF|Pedunculopontine nucleus
165|RAmb|348|868|FFA6FF|Midbrain raphe nuclei
872|DR|165|881|FFA6FF|Dorsal nucleus raphe
1065|HB|343|882|FF9B88|Hindbrain
771|P|1065|883|FF9B88|Pons
1132|P-sen|771|884|FFAE6F|Pons, sensory related
7|PSV|1132|889|FFAE6F|Principal sensory nucleus of the trigeminal
867|PB|1132|890|FFAE6F|Parabrachial nucleus
398|SOC|1132|902|FFAE6F|Superior olivary complex
987|P-mot|771|906|FFBA86|Pons, motor related
898|PCG|987|911|FFBA86|Pontine central gray
931|PG|987|912|FFBA86|Pontine gray
1093|PRNc|987|913|FFBA86|Pontine reticular nucleus, caudal part
574|TRN|987|918|FFBA86|Tegmental reticular nucleus
621|V|987|919|FFBA86|Motor nucleus of trigeminal
1117|P-sat|771|924|FFC395|Pons, behavioral state related
679|CS|1117|925|FFC395|Superior central nucleus raphe
146|PRNr|1117|931|FFC395|Pontine reticular nucleus
354|MY|1065|935|FF9BCD|Medulla
386|MY-sen|354|936|FFA5D2|Medulla, sensory related
607|CN|386|938|FFA5D2|Cochlear nuclei
96|DCO|607|941|FFA5D2|Dorsal cochlear nucleus
101|VCO|607|942|FFA5D2|Ventral cochlear nucleus
720|DCN|386|943|FFA5D2|Dorsal column nuclei
711|CU|720|944|FFA5D2|Cuneate nucleus
651|NTS|386|948|FFA5D2|Nucleus of the solitary tract
429|SPVC|386|954|FFA5D2|Spinal nucleus of the trigeminal, caudal part
437|SPVI|386|955|FFA5D2|Spinal nucleus of the trigeminal, interpolar part
370|MY-mot|354|964|FFB3D9|Medulla, motor related
661|VII|370|967|FFB3D9|Facial motor nucleus
1048|GRN|370|975|FFB3D9|Gigantocellular reticular nucleus
83|IO|370|977|FFB3D9|Inferior olivary complex
136|IRN|370|978|FFB3D9|Intermediate reticular nucleus
395|MDRN|370|985|FFB3D9|Medullary reticular nucleus
1098|MDRNd|395|986|FFB3D9|Medullary reticular nucleus, dorsal part
701|VNC|370|1001|FFB3D9|Vestibular nuclei
209|LAV|701|1002|FFB3D9|Lateral vestibular nucleus
773|XII|370|1007|FFB3D9|Hypoglossal nucleus
512|CB|8|1014|F0F080|Cerebellum
528|CBX|512|1015|F0F080|Cerebellar cortex
645|VERM|528|1019|FFFC91|Vermal regions
920|CENT|645|1024|FFFC91|Central lobule
984|CENT3|920|1029|FFFC91|Lobule III
10713|CENT3mo|984|1030|FFFC91|Lobule III, molecular layer
10711|CENT3gr|984|1032|ECE754|Lobule III, granular layer
928|CUL|645|1033|FFFC91|Culmen
1091|CUL4, 5|928|1042|FFFC91|Lobules IV-V
10722|CUL4, 5mo|1091|1043|FFFC91|Lobules IV-V, molecular layer
10720|CUL4, 5gr|1091|1045|ECE754|Lobules IV-V, granular layer
936|DEC|645|1046|FFFC91|Declive (VI)
10725|DECmo|936|1047|FFFC91|Declive (VI), molecular layer
10723|DECgr|936|1049|ECE754|Declive (VI), granular layer
944|FOTU|645|1050|FFFC91|Folium-tuber vermis (VII)
10728|FOTUmo|944|1051|FFFC91|Folium-tuber vermis (VII), molecular layer
10726|FOTUgr|944|1053|ECE754|Folium-tuber vermis (VII), granular layer
951|PYR|645|1054|FFFC91|Pyramus (VIII)
10731|PYRmo|951|1055|FFFC91|Pyramus (VIII), molecular layer
10729|PYRgr|951|1057|ECE754|Pyramus (VIII), granular layer
957|UVU|645|1058|FFFC91|Uvula (IX)
10734|UVUmo|957|1059|FFFC91|Uvula (IX), molecular layer
10732|UVUgr|957|1061|ECE754|Uvula (IX), granular layer
968|NOD|645|1062|FFFC91|Nodulus (X)
10737|NODmo|968|1063|FFFC91|Nodulus (X), molecular layer
10735|NODgr|968|1065|ECE754|Nodulus (X), granular layer
1073|HEM|528|1066|FFFC91|Hemispheric regions
1007|SIM|1073|1067|FFFC91|Simple lobule
10674|SIMmo|1007|1068|FFFC91|Simple lobule, molecular layer
10672|SIMgr|1007|1070|ECE754|Simple lobule, granular layer
1017|AN|1073|1071|FFFC91|Ansiform lobule
1056|ANcr1|1017|1072|FFFC91|Crus 1
10677|ANcr1mo|1056|1073|FFFC91|Crus 1, molecular layer
10675|ANcr1gr|1056|1075|ECE754|Crus 1, granular layer
1064|ANcr2|1017|1076|FFFC91|Crus 2
10680|ANcr2mo|1064|1077|FFFC91|Crus 2, molecular layer
10678|ANcr2gr|1064|1079|ECE754|Crus 2, granular layer
1025|PRM|1073|1080|FFFC91|Paramedian lobule
10683|PRMmo|1025|1081|FFFC91|Paramedian lobule, molecular layer
10681|PRMgr|1025|1083|ECE754|Paramedian lobule, granular layer
1033|COPY|1073|1084|FFFC91|Copula pyramidis
10686|COPYmo|1033|1085|FFFC91|Copula pyramidis, molecular layer
10684|COPYgr|1033|1087|ECE754|Copula pyramidis, granular layer
1041|PFL|1073|1088|FFFC91|Paraflocculus
10689|PFLmo|1041|1089|FFFC91|Paraflocculus, molecular layer
10687|PFLgr|1041|1091|ECE754|Paraflocculus, granular layer
519|CBN|512|1096|F0F080|Cerebellar nuclei
989|FN|519|1097|FFFDBC|Fastigial nucleus
91|IP|519|1098|FFFDBC|Interposed nucleus
846|DN|519|1099|FFFDBC|Dentate nucleus
1009|fiber tracts|997|1101|CCCCCC|fiber tracts
967|cm|1009|1102|CCCCCC|cranial nerves
840|In|967|1105|CCCCCC|olfactory nerve
1016|onl|840|1106|CCCCCC|olfactory nerve layer of main olfactory bulb
21|lotg|840|1107|CCCCCC|lateral olfactory tract, general
900|aco|840|1111|CCCCCC|anterior commissure, olfactory limb
848|IIn|967|1112|CCCCCC|optic nerve
117|och|848|1116|CCCCCC|optic chiasm
125|opt|848|1117|CCCCCC|optic tract
792|drt|967|1149|CCCCCC|dorsal roots
932|cett|792|1150|CCCCCC|cervicothalamic tract
697|ml|932|1159|CCCCCC|medial lemniscus
960|cbf|1009|1171|CCCCCC|cerebellum related fiber tracts
752|cbp|960|1173|CCCCCC|cerebellar peduncles
326|scp|752|1174|CCCCCC|superior cerebelar peduncles
78|mcp|752|1179|CCCCCC|middle cerebellar peduncle
728|arb|960|1188|CCCCCC|arbor vitae
983|lfbs|1009|1190|CCCCCC|lateral forebrain bundle system
776|cc|983|1191|CCCCCC|corpus callosum
956|fa|776|1192|CCCCCC|corpus callosum, anterior forceps
579|ec|956|1193|CCCCCC|external capsule
1108|ccg|776|1195|CCCCCC|genu of corpus callosum
484682516|ccb|776|1198|CCCCCC|corpus callosum, body
986|ccs|776|1199|CCCCCC|corpus callosum, splenium
784|cst|983|1200|CCCCCC|corticospinal tract
6|int|784|1201|CCCCCC|internal capsule
924|cpd|784|1202|CCCCCC|cerebal peduncle
190|py|784|1207|CCCCCC|pyramid
896|lfbst|983|1211|CCCCCC|thalamus related
484682520|or|896|1216|CCCCCC|optic radiation
991|mfbs|1009|1238|CCCCCC|medial forebrain bundle system
768|mfbc|991|1239|CCCCCC|cerebrum related
908|act|768|1242|CCCCCC|anterior commissure, temporal limb
940|cing|768|1243|CCCCCC|cingulum bundle
1099|fxs|768|1244|CCCCCC|fornix system
466|alv|1099|1245|CCCCCC|alveus
603|fi|1099|1247|CCCCCC|fimbria
737|fxpo|1099|1250|CCCCCC|postcommissural fornix
436|fx|737|1252|CCCCCC|columns of the fornix
824|mfsbshy|991|1261|CCCCCC|hypothalamus related
1083|mfbse|824|1284|CCCCCC|epithalamus related
595|fr|1083|1286|CCCCCC|fasciculus retroflexus
73|VS|997|1292|AAAAAA|ventricular systems
81|VL|73|1293|AAAAAA|lateral ventricle
129|V3|73|1299|AAAAAA|third ventricle
140|AQ|73|1300|AAAAAA|cerebral aqueduct
145|V4|73|1301|AAAAAA|fourth ventricle
164|c|73|1303|AAAAAA|central canal, spinal cord/medulla
"""


@cache
def phantom_ontology() -> Ontology:
    """Return the phantom's structures as an ontology.

    Examples
    --------
    >>> phantom_ontology().find("DG-sg").id
    632
    """
    return Ontology(tuple(_structure(line) for line in TABLE.splitlines()))


def _structure(line: str) -> Structure:
    """Return the structure that a line of the table describes."""
    number, acronym, parent, order, colour, name = line.split("|")
    return Structure(int(number), acronym, name, int(parent) if parent else None, int(order), colour)
